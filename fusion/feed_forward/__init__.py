"""Feed-forward layers: the part of a block in which each token is alone."""
