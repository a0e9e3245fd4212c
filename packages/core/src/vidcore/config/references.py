"""References between the stages of a Task: a text that begins with ``{NAME}`` means the folder of that stage."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from vidcore.config.load import Key, Loaded, format_key
from vidcore.errors import nearest

__all__ = ["REFERENCE", "reference_problems", "references", "stage_reference"]

REFERENCE = re.compile(r"\{([A-Za-z_][\w-]*)\}(?=/|$)")
NAME = re.compile(r"[A-Za-z_][\w-]*")


def stage_reference(text: str, key: Key) -> str | None:
    """The stage whose folder a text at a key of a Task begins with; None where it is an ordinary text."""
    found = REFERENCE.match(text) if key[:1] == ("stages",) else None
    return found[1] if found else None


def references(stage: Any) -> set[str]:
    """The stages that a stage's table refers to."""
    return {name for key, text in _texts(stage, ("stages",)) if (name := stage_reference(text, key))}


def reference_problems(loaded: Loaded) -> Iterator[str]:
    """What is wrong with names of stages, and with references to them, one line each."""
    stages = loaded.data.get("stages")
    before: list[str] = []
    for stage, table in stages.items() if isinstance(stages, dict) else ():
        if not NAME.fullmatch(stage):
            where = loaded.source(("stages", stage)).name
            yield f"{where}: stages: {stage!r} is the name of a folder: letters, digits, _ and -, a letter first"
        for key, text in _texts(table, ("stages", stage)):
            name = stage_reference(text, key)
            if name is not None and name not in before:
                hint = nearest(name, before) or f"; before it there is {', '.join(before) or 'none'}"
                yield f"{loaded.source(key).name}: {format_key(key)}: {text!r}: no stage before this is {name!r}{hint}"
        before.append(stage)


def _texts(value: Any, at: Key) -> Iterator[tuple[Key, str]]:
    if isinstance(value, str):
        yield at, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, (*at, str(name)))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _texts(inner, (*at, str(i)))
