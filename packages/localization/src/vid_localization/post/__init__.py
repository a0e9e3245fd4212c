"""From scores of positions to segments: NumPy functions over all proposals of a video at once."""
