"""Positions: how a mixer knows the order of its tokens."""
