"""Readers of vid-annotations."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {}
