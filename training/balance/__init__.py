"""Options of a training against, or for, a modality that learns faster than the others."""
