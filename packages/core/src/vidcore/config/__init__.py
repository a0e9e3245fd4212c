"""Tasks: reading TOML, checking it against the signatures of components, building objects."""
