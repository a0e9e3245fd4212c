"""The smallest outside plugin of vidcore."""
