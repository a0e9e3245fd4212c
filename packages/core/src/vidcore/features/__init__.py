"""Features of whole videos: a row of numbers for each position, made by a model and kept in files."""
