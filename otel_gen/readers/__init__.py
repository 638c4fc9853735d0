"""Readers: they look at files only; nothing flows back."""
