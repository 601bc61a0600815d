"""Serving: answers from a trained checkpoint."""
