"""The trainings of a comparison: what they are called, what they cost, how they are run."""
