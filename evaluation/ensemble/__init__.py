"""Several runs that answer the same questions together."""
