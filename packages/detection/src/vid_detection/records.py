"""Annotated boxes that metrics compare with."""

from __future__ import annotations

from attrs import field, frozen

from vidcore.record import Record, same_length, shape
from vidcore.typing import Array

__all__ = ["TrueBoxes"]


@frozen(eq=False)
class TrueBoxes(Record):
    """The annotated boxes of a key frame, in ``Sample.extra["truth"]``.

    ``Sample.boxes`` follows resizes and crops; these do not, so that crops cannot remove persons from the evaluation.
    """

    xyxy: Array = field(validator=shape(None, 4))
    """(n, 4) float64 fractions of width and height of the frame."""
    labels: Array = field(validator=shape(None, None))
    """(n, classes) bool."""
    track: Array | None = field(default=None, validator=shape(None))
    """(n,) int64: identity of the person in the video."""

    def __attrs_post_init__(self) -> None:
        same_length(self)
