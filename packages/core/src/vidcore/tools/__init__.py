"""Console, pictures, loggers and measurements. The kernel does not import them."""
