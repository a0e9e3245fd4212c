"""Exact frames of damaged, cut and odd files, with PyAV: ``PyAVReader``."""
