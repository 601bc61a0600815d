"""Training: objectives, optimizers, the loop, checkpoints and trackers."""
