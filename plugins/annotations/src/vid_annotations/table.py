"""What all annotation tools have in common: boxes at moments, and segments. Readers fill it, ``convert`` writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from attrs import define, field, frozen

from vidcore.data.fields import finite_number
from vidcore.errors import AnnotationError

__all__ = ["MOST_FRAMES", "MOST_ROWS", "Annotations", "Box", "Description", "Shape", "Span", "checked_box"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom."""
MOST_FRAMES, MOST_ROWS = 3_000_000, 5_000_000
"""A frame number of a few digits must not fill the memory: 27 hours at 30 frames per second; boxes, or moments."""


@frozen
class Description:
    """What a tool says of a box or a segment."""

    labels: tuple[str, ...] = ()
    attributes: Mapping[str, tuple[str, ...]] = field(factory=dict)
    """Values by name of attribute: several of a checkbox, none of one without a value."""


@frozen
class Shape:
    """A box at one moment."""

    video: str
    moment: float
    """A frame from 0, or seconds: ``Annotations.in_frames``."""
    box: Box
    about: Description
    track: str | None = None
    """Who it is, unique within the video; None: the tool does not say."""
    size: tuple[float, float] | None = None
    """Width and height of the picture that it was drawn on, if known; fractions have (1, 1)."""


@frozen
class Span:
    """A segment of a video, in seconds."""

    video: str
    start: float
    end: float
    about: Description


@define
class Annotations:
    """The content of the files of one tool."""

    tool: str
    in_frames: bool
    """Moments are frames, and become times by the rate of the video."""
    relative: bool = False
    """Boxes are fractions of the picture, not pixels."""
    shapes: list[Shape] = field(factory=list)
    spans: list[Span] = field(factory=list)
    moments: dict[str, list[Sequence[int | float]]] = field(factory=dict)
    """By video, moments that somebody has looked at, with or without boxes."""
    durations: dict[str, float] = field(factory=dict)
    """Seconds, where the tool says so."""
    frame_counts: dict[str, int] = field(factory=dict)
    """Frames, where the tool says so."""
    interpolated: int = 0
    """Boxes of a track that were made between those of the file, or after the last."""
    open_tracks: int = 0
    """Tracks that do not say where they end; they have no box after their last one."""
    lost: Counter[str] = field(factory=Counter)
    """What has no place in a table of boxes and segments, and how often it occurs."""
    notes: list[str] = field(factory=list)
    _looked: int = 0

    def look(self, video: str, moments: Sequence[int | float] = ()) -> None:
        """Add a video, and moments that somebody has looked at. Raises ``AnnotationError`` if there are too many."""
        self.moments.setdefault(video, []).append(moments)
        self._looked += len(moments)
        if self._looked > MOST_ROWS:
            raise AnnotationError(f"{video}: with it, videos have more than {MOST_ROWS:,} frames, the most allowed")

    def add(
        self,
        where: str,
        video: str,
        moment: float,
        box: Box,
        about: Description,
        track: str | None = None,
        size: tuple[float, float] | None = None,
    ) -> None:
        """Add a box, clipped to the picture. One without area, or outside of the picture, counts as lost.

        Args:
            where: beginning of messages.
            video: name of the video.
            moment: a frame or seconds, see ``in_frames``.
            box: left, top, right, bottom.
            about: what the tool says of it.
            track: who it is; None: not known.
            size: see ``Shape.size``.

        Raises:
            AnnotationError: there are too many boxes.
        """
        if len(self.shapes) >= MOST_ROWS:
            raise AnnotationError(f"{where}: is box {MOST_ROWS + 1:,}, at most {MOST_ROWS:,} are allowed")
        left, top, right, bottom = box
        if size is not None:
            left, right = (min(max(x, 0.0), size[0]) for x in (left, right))
            top, bottom = (min(max(y, 0.0), size[1]) for y in (top, bottom))
        if left == right or top == bottom:
            self.lost["boxes without area in the picture"] += 1
            return
        self.shapes.append(Shape(video, moment, (left, top, right, bottom), about, track, size))


def checked_box(where: str, box: Sequence[object]) -> Box:
    """Return left, top, right and bottom as numbers. Raises ``AnnotationError``, beginning with ``where``."""
    left, top, right, bottom = (finite_number(where, value) for value in box)
    if right < left or bottom < top:
        raise AnnotationError(
            f"{where}: the box ends before it begins: left {left:g}, top {top:g}, right {right:g}, bottom {bottom:g}"
        )
    return left, top, right, bottom
