"""Reads MMAction2 1.x configurations and checkpoints into vidcore."""
