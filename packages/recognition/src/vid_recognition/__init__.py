"""Action recognition for vidcore."""
