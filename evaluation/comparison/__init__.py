"""Several runs next to one another."""
