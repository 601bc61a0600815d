"""A comparison as pages, tables, figures and JSON."""
