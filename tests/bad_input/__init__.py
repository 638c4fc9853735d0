"""A corpus of bad input, each case through the public API of a real process."""
