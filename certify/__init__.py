"""Proof that a configured model computes what it says: perturbation, and slow references beside fast paths."""
