"""Import what the former logger wrote: old history files become canonical records."""
