"""Data sets in memory and on their way to a model."""
