"""Metrics for action recognition."""
