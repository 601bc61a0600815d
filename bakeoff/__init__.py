"""Bake-off: fusion methods trained at equal cost, with the same tuning, and compared with tests."""
