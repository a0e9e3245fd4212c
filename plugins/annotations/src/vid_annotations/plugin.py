"""Command of vid-annotations."""

from __future__ import annotations

from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {"data convert-annotations": "vid_annotations.command:convert_annotations"}
