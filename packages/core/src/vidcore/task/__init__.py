"""From a Task to a trained and evaluated model."""
