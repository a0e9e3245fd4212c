"""Metrics of boxes in key frames, and of tubes in videos."""
