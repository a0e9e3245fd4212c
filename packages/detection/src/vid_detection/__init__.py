"""Spatio-temporal action detection for vidcore."""
