"""The search for the options of each method."""
