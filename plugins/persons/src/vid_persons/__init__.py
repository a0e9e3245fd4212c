"""Persons in videos for vidcore: where they are, their joints, and who is who."""
