"""What a configuration may say: names, types, overrides."""
