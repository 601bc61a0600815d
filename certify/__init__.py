"""Proof that a configured model computes what it says: perturbation, and slow references for fast paths."""
