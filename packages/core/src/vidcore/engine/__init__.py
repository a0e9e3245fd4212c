"""Training and evaluation of models that are built already."""
