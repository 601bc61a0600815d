"""Fusion: one interleaved sequence of embeddings to hidden states, logits and answers."""
