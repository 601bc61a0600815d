"""Mixers: the part of a block in which tokens see one another."""
