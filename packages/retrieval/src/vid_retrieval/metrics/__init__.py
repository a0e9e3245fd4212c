"""Metrics of retrieval and of answers to questions."""
