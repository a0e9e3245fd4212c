"""Components, recipes and commands of vid-detection."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {}
