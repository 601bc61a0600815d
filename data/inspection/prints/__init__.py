"""Prints of contents, by which near copies are found."""
