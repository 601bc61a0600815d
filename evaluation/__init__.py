"""Evaluation: scores with intervals, blind baselines, reports and comparisons."""
