"""Encoders: from a modality's raw values to features, and projectors into the shared width."""
