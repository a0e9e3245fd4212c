"""Networks on skeletons."""
