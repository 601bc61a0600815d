"""From the features of an encoder to tokens of the shared width."""
