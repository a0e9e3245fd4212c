"""Trained models on videos."""
