"""What a validation asks while a model is trained."""
