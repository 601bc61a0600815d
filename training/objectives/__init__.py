"""Objectives: what a model is trained to do, as sums over supervised positions."""
