"""Checks of annotated boxes: problems are counted and repaired, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from vidcore.errors import AnnotationError, DataError
from vidcore.typing import Array

__all__ = ["BoxPolicy", "check_boxes", "check_policy"]

BoxPolicy = Literal["repair", "raise"]
"""``repair`` clips boxes that reach out of the picture, and drops those that are empty, swapped, outside of the picture
or not finite. ``raise`` refuses the file."""


def check_policy(policy: str) -> None:
    """Raise ``DataError`` unless it is a ``BoxPolicy``."""
    if policy not in ("repair", "raise"):
        raise DataError(f"bad_boxes must be repair or raise, got {policy!r}")


def check_boxes(file: Path, lines: Array, boxes: Array, policy: BoxPolicy) -> tuple[Array, Array, list[str]]:
    """Check boxes in fractions of the picture.

    Args:
        file: for messages.
        lines: (n,) line of each box in the file.
        boxes: (n, 4).
        policy: what happens to boxes with a problem.

    Returns:
        Repaired boxes (n, 4), which of them remain (n,) bool, and a sentence about each kind of problem.

    Raises:
        AnnotationError: there is a problem and the policy is ``raise``, or no box would remain.
    """
    x1, y1, x2, y2 = boxes.T
    with np.errstate(invalid="ignore"):
        broken = ~np.isfinite(boxes).all(1)
        swapped = ~broken & ((x2 < x1) | (y2 < y1))
        empty = ~broken & ~swapped & ((x2 == x1) | (y2 == y1))
        sound = ~(broken | swapped | empty)
        outside = sound & ((x2 <= 0) | (y2 <= 0) | (x1 >= 1) | (y1 >= 1))
        reaching = sound & ~outside & ((boxes < 0) | (boxes > 1)).any(1)
    problems = []
    found: tuple[tuple[Any, str, str], ...] = (
        (broken, "have a coordinate that is not finite", "dropped"),
        (swapped, "end before they begin", "dropped"),
        (empty, "have no area", "dropped"),
        (outside, "are outside of the picture", "dropped"),
        (reaching, "reach out of the picture", "clipped"),
    )
    for mask, what, done in found:
        if mask.any():
            i = int(np.argmax(mask))
            box = ", ".join(f"{v:g}" for v in boxes[i])
            count = int(np.count_nonzero(mask))
            problems.append(f"{file}: {count} of {len(mask)} boxes {what}: {done}; the first in line {lines[i]}: {box}")
    kept = sound & ~outside
    if problems and (policy == "raise" or not kept.any()):
        raise AnnotationError("\n".join(problems))
    return np.clip(np.nan_to_num(boxes), 0, 1), kept, problems
