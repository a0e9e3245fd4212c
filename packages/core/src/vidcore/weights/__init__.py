"""Files of published weights: their names and hashes, where they are on this machine, and how they are downloaded."""
