"""Optimizers, and which weights belong to which."""
