"""Attention without weights: by masks, by lengths, by blocks, and which one is the fastest."""
