"""One space for embeddings of all modalities."""
