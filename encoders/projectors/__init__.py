"""Projectors with learned queries: resamplers."""
