"""What a run leaves and what it goes on from."""
