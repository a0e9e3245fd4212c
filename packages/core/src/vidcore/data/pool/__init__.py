"""From a data set to batches, in worker processes or without."""
