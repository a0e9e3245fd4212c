"""Annotations of labelling tools for vidcore."""
