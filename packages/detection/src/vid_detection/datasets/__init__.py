"""Datasets of key frames, and of frames of tubes, with boxes and actions."""
