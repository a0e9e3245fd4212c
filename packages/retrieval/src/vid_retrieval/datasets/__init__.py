"""Datasets of videos and texts."""
