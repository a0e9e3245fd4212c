"""Action recognition from sound: log-mel features, networks on them, datasets, and the command that makes features."""
