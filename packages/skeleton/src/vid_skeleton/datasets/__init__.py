"""Datasets of skeletons."""
