"""Temporal action localization for vidcore: which segments of a long video show what."""
