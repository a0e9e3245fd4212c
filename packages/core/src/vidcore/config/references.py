"""References between stages of a Task: a string that starts with ``{NAME}`` refers to the folder of that stage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vidcore.config.load import Key, Loaded, format_key
from vidcore.errors import nearest

__all__ = ["REFERENCE", "reference_problems", "references", "stage_reference"]

REFERENCE = re.compile(r"\{([A-Za-z_][\w-]*)\}(?=/|$)")
NAME = re.compile(r"[A-Za-z_][\w-]*")


def stage_reference(string: str, key: Key) -> str | None:
    """Return the stage that a string at a key of a Task refers to; None if it refers to none."""
    found = REFERENCE.match(string) if key[:1] == ("stages",) else None
    return found[1] if found else None


def references(stage: Any) -> set[str]:
    """Return the stages that the table of a stage refers to."""
    return {name for key, string in _strings(stage, ("stages",)) if (name := stage_reference(string, key))}


def reference_problems(loaded: Loaded) -> Iterator[str]:
    """Yield the problems with names of stages and references to them, one line each."""
    stages = loaded.data.get("stages")
    before: list[str] = []
    for stage, table in stages.items() if isinstance(stages, dict) else ():
        if not NAME.fullmatch(stage):
            where = loaded.source(("stages", stage)).name
            yield f"{where}: stages: {stage!r} is not a name: use letters, digits, _ and -, and a letter first"
        for key, string in _strings(table, ("stages", stage)):
            name = stage_reference(string, key)
            if name is not None and name not in before:
                hint = nearest(name, before) or f"; earlier stages: {', '.join(before) or 'none'}"
                where = f"{loaded.source(key).name}: {format_key(key)}"
                yield f"{where}: {string!r} refers to {name!r}, which is not an earlier stage{hint}"
        before.append(stage)


def _strings(value: Any, at: Key) -> Iterator[tuple[Key, str]]:
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _strings(inner, (*at, str(name)))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _strings(inner, (*at, str(i)))
