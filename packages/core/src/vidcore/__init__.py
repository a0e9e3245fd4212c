"""vidcore: video understanding for people who train, evaluate and ship models."""

__version__ = "0.1.0"
