"""Datasets of untrimmed videos: features or files, with segments in seconds."""
