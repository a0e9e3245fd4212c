"""Tasks: reading TOML, checking it against the signatures of components, building objects."""

from vidcore.config.bind import build_component
from vidcore.config.load import load

__all__ = ["build_component", "load"]
