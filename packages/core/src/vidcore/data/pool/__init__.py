"""Batches of a dataset, loaded in worker processes or in the main process."""
