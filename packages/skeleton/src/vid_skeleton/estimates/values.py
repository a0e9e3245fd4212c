"""Checks of values in JSON files: each raises ``AnnotationError``, which begins with ``where``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from vidcore.data.fields import whole_number
from vidcore.errors import AnnotationError
from vidcore.typing import Array

__all__ = ["MOST_FRAMES", "as_list", "as_numbers", "as_object", "frame_in_name", "identity_of", "people_of", "short"]

MOST_FRAMES = 10_000_000
"""Frames of a video: higher numbers are taken for something else."""


def short(value: Any) -> str:
    """Return what a value is, in a few words."""
    if isinstance(value, dict):
        keys = ", ".join(repr(key)[:30] for key in list(value)[:5])
        return f"an object with {keys}" if keys else "an empty object"
    if isinstance(value, list):
        first = f", first {short(value[0])}" if value and not isinstance(value[0], list) else ""
        return f"a list of {len(value)}{first}"
    return repr(value)[:40]


def as_object(where: str, value: Any) -> dict[str, Any]:
    """Return a value that must be an object."""
    if not isinstance(value, dict):
        raise AnnotationError(f"{where}: expected an object, found {short(value)}")
    return value


def as_list(where: str, content: Mapping[str, Any], key: str, optional: bool = False) -> list[Any]:
    """Return the list with this key; none if it is optional and null, or not there."""
    if optional and content.get(key) is None:
        return []
    if not isinstance(content.get(key), list):
        raise AnnotationError(f"{where}: {key} must be a list, found {short(content.get(key))}")
    value: list[Any] = content[key]
    return value


def as_numbers(where: str, value: Any, count: int | None = None) -> Array:
    """Return a list of numbers, or of lists of equal length, as one row of float64."""
    try:
        found = np.asarray(value) if isinstance(value, list) else np.zeros(0, object)
    except (ValueError, OverflowError):
        found = np.zeros(0, object)
    if found.dtype.kind not in "iuf" or found.ndim > 2:
        raise AnnotationError(f"{where}: expected a list of numbers, found {short(value)}")
    row: Array = found.astype(np.float64).ravel()
    if count is not None and len(row) != count:
        raise AnnotationError(f"{where}: expected {count} numbers, found {len(row)}")
    return row


def identity_of(value: Any) -> Any:
    """Return an id, which may be in lists: OpenPose writes ``[-1]``, AlphaPose ``[[0.0], [0.0]]``."""
    for _ in range(3):
        if isinstance(value, list):
            value = value[0] if value else None
    return None if isinstance(value, list | dict | bool) or value != value else value  # NaN is not itself


def frame_in_name(where: str, text: str) -> int:
    """Return the last number in the name of a file, which is that of the frame."""
    found = re.findall(r"\d+", re.sub(r"\.\w+$", "", text))
    if not found:
        raise AnnotationError(f"{where}: {text[:40]!r} has no number of a frame")
    return whole_number(where, found[-1][-15:], most=MOST_FRAMES)


def people_of(content: Mapping[str, Any]) -> list[Any] | None:
    """Return the persons in a frame of OpenPose, or of AlphaPose's ``open`` and ``cmu``."""
    return next((content[key] for key in ("people", "bodies") if isinstance(content.get(key), list)), None)
