"""Transforms that load and sample features, proposals and sentences."""
