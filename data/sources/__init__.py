"""Where samples come from: manifests of a user, and built-in data."""
