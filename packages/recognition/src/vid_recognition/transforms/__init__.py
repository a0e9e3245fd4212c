"""Steps of a pipeline that only some data sets of action recognition need."""
