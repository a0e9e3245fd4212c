"""An example plugin of vidcore."""
