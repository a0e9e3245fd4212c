"""Preparation of official downloads."""
