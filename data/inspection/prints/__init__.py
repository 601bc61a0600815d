"""Prints of contents. Near copies are found by them."""
