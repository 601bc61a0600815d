"""Rows of methods by data set and budget, each from one file, and the page that shows them."""
