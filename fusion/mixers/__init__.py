"""Mixers: the part of a block where tokens see one another."""
