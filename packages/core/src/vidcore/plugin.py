"""What the core itself offers, through the same door as every other plugin."""

from __future__ import annotations

from vidcore.hookspecs import hookimpl


@hookimpl
def vidcore_transforms() -> dict[str, str]:
    return {}


@hookimpl
def vidcore_commands() -> dict[str, str]:
    return {
        "check": "vidcore.cli.inspect:check",
        "explain": "vidcore.cli.inspect:explain",
        "list": "vidcore.cli.inspect:list_",
        "plugins": "vidcore.cli.inspect:plugins",
        "predict": "vidcore.cli.work:predict",
        "run": "vidcore.cli.work:run",
        "test": "vidcore.cli.work:test",
    }
