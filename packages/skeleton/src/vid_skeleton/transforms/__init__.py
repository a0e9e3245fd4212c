"""Steps from annotated joints to the inputs of a network."""
