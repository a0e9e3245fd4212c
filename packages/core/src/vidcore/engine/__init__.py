"""Training and evaluation of a model that is already built."""
