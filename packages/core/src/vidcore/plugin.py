"""What the core itself offers, through the same door as every other plugin."""

from __future__ import annotations

from vidcore.hookspecs import hookimpl


@hookimpl
def vidcore_transforms() -> dict[str, str]:
    return {}
