"""Samples, tokens and batches: from a manifest row or a built-in source to an `InterleavedBatch`."""
