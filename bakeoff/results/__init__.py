"""What the runs of a comparison say, with intervals and tests."""
