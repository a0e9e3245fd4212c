"""Classes that name a side, such as left and right, beside steps that mirror. Nothing here imports NumPy or torch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vidcore.config.bind import Call, build
from vidcore.config.load import format_key
from vidcore.data.classes import read_classes
from vidcore.errors import UserError, some
from vidcore.task.task import Task

__all__ = ["check_flips", "flip_notes", "sided_classes"]


def flip_notes(task: Task, names: Mapping[str, Sequence[str] | None]) -> list[str]:
    """Return a note for each step that mirrors videos without regard for classes that name a side.

    Args:
        task: one Task, without stages.
        names: class names by part of ``[data]`` (``train``, ``train_extra.web``).
    """
    found = []
    for part, classes in names.items():
        sided = sided_classes(classes or ())
        for step, call in _mirroring_steps(task.get(f"data.{part}.pipeline")) if sided else ():
            mapped = call.arguments.get("flip_label_map") or {}
            kept = [repr(name) for number, name in sided.items() if str(number) not in set(map(str, mapped))]
            if kept:
                key = f"data.{part}.pipeline.{step}"
                what = f"Flip mirrors videos whose class names a side ({some(kept)}), and keeps the class"
                found.append(f"{key}: {what}: set flip_label_map, or remove the step ({key} = false)")
    return found


SIDE = re.compile(r"(left|right)(s|y|wards?|most|hand(ed|er)?|side|foot(ed)?)?|(counter|anti)?clockwise", re.I)
"""Words whose meaning changes in a mirror."""


def sided_classes(names: Sequence[str]) -> dict[int, str]:
    """Return the classes, by number, whose name contains a side as a whole word.

    >>> sided_classes(["turn left", "Left-handed", "turnRight", "upright", "bright_light", "go_RIGHT2"])
    {0: 'turn left', 1: 'Left-handed', 2: 'turnRight', 5: 'go_RIGHT2'}
    """
    words = {i: re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name) for i, name in enumerate(names)}
    return {i: names[i] for i, found in words.items() if any(map(SIDE.fullmatch, found))}


def _mirroring_steps(value: Any, key: tuple[str, ...] = ()) -> Iterator[tuple[str, Call]]:
    """Yield the steps of a pipeline that mirror horizontally, also inside of others, with their keys."""
    if isinstance(value, Call):
        if value.component.name == "Flip":
            arguments = value.arguments
            if arguments.get("direction", "horizontal") == "horizontal" and arguments.get("flip_ratio", 0.5) > 0:
                yield format_key(key), value
        value = value.arguments
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _mirroring_steps(inner, (*key, str(name)))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _mirroring_steps(inner, (*key, str(number)))


def check_flips(task: Task) -> list[str]:
    """Return the notes of ``flip_notes`` for a Task or its stages whose classes are listed in a file or in the Task.

    Datasets that find their classes themselves are not opened: ``check_build`` and runs do that.
    """
    found: list[str] = []
    for stage in task.stages.values() or [task]:
        parts = ["train", *(f"train_extra.{name}" for name in stage.get("data.train_extra") or ())]
        mirrored = [part for part in parts if any(_mirroring_steps(stage.get(f"data.{part}.pipeline")))]
        found += flip_notes(stage, {part: _listed_classes(stage, part) for part in mirrored})
    return found


def _listed_classes(task: Task, part: str) -> Sequence[str] | None:
    """Return the listed class names of a part; None if there is no list, or it cannot be read."""
    call = task.get(f"data.{part}.dataset")
    classes = call.arguments.get("classes") if isinstance(call, Call) else None
    try:
        return read_classes(build(classes))
    except (UserError, OSError):  # a run reports it
        return None
