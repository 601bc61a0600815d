"""What is decided from data and model before the first update."""
