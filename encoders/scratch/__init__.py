"""Encoders that are trained from random weights."""
