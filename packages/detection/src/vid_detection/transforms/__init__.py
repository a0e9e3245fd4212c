"""Transforms that choose the frames around a key frame."""
