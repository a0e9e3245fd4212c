"""What vid-recognition offers."""

from __future__ import annotations

from vidcore.hookspecs import hookimpl


@hookimpl
def vidcore_models() -> dict[str, str]:
    return {}
