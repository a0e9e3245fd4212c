"""Datasets for action recognition: lists of videos, folders of frames, a folder per class."""
