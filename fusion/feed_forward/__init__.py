"""Feed-forward layers: the part of a block where each token is alone."""
