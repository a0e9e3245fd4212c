"""Official annotations of skeletons, converted to one file that is mapped instead of loaded."""
