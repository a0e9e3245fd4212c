"""Converts MMAction2 1.x configurations and checkpoints to vidcore."""
