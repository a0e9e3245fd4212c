"""Scores of action recognition."""
