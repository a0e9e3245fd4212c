"""Video and language for vidcore."""
