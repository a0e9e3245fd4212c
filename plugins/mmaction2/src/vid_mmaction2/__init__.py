"""Converts MMAction2 1.x and 0.x configurations and checkpoints to vidcore."""
