"""Transforms of texts."""
