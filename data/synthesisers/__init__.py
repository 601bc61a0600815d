"""Families of synthetic speech: one file each, with its engine, its voices and how they are split."""
