"""Where a run's numbers, pictures, sounds and tables go."""
