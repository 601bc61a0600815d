"""A report as one page for a browser: it needs no network, its tables sort, its examples are seen and played."""
