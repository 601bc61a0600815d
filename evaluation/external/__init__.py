"""Evaluation harnesses of others, which ask a checkpoint of this project."""
