"""Commands of vid-mmaction2."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {"import": "vid_mmaction2.command:import_"}
