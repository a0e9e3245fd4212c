"""Discovery of plugins and of the components they offer."""
