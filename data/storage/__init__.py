"""Files on disk: caches, arrays, packages from npm."""
