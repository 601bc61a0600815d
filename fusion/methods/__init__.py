"""Fusion methods: who sees whom, and which weights a token uses."""
