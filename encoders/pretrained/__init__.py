"""Encoders of other libraries with their weights, frozen or fine-tuned."""
