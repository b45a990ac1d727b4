"""Presets: YAML files that say how published data sets lie on disk, and the one reader that follows them."""
