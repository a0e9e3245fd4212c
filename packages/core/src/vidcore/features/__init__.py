"""Features of whole videos: a vector for each position, computed by a model and stored in files."""
