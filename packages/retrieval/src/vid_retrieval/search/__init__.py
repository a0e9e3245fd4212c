"""Search in one's own videos: an index of embeddings of windows, and queries by sentences."""
