"""Finding the partner of an item in another modality."""
