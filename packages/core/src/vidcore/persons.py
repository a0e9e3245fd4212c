"""Persons in videos: a record of them, and the protocols of what finds them, their joints, and who is who.

Components are of the kinds ``person_detectors``, ``pose_estimators`` and ``trackers``; the core has none. A video is
handled in order: call ``begin`` of each of them for each video, then pass its frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from attrs import evolve, field, frozen

from vidcore.errors import UserError
from vidcore.records import EPSILON, Record, WindowScores, shape
from vidcore.typing import Array

__all__ = ["PersonDetector", "PersonScores", "Persons", "PoseEstimator", "Tracker", "existing_weights"]


@frozen(eq=False)
class Persons(Record):
    """Persons in one frame, or in the frames of a video: n rows, one for each person and frame."""

    boxes: Array = field(validator=shape(None, 4))
    """(n, 4) float32: ``x1, y1, x2, y2`` in pixels; they may extend beyond the frame."""
    scores: Array = field(validator=shape(None))
    """(n,) float32: probability that this is a person."""
    points: Array | None = field(default=None, validator=shape(None, None, 2))
    """(n, joints, 2) float32: x and y in pixels; NaN for joints that were not found."""
    joint_scores: Array | None = field(default=None, validator=shape(None, None))
    """(n, joints) float32: confidence from 0 to 1; 0 for joints that were not found."""
    tracks: Array | None = field(default=None, validator=shape(None))
    """(n,) int64: identities, the same in all frames of a video."""
    frames: Array | None = field(default=None, validator=shape(None))
    """(n,) int64: numbers of the frames, ascending; None for persons in one frame."""
    times: Array | None = field(default=None, validator=shape(None))
    """(n,) float64: seconds at which these frames appear, counted from the first of the video."""

    def __attrs_post_init__(self) -> None:
        wrong = [f"{a.name} has {len(value)}" for a, value in self.columns() if len(value) != len(self.boxes)]
        if wrong:
            raise ValueError(f"Persons: boxes has {len(self.boxes)} rows, but {', '.join(wrong)}")

    @classmethod
    def nobody(cls, joints: int | None = None) -> Self:
        """Return no persons; ``joints`` is the number of joints, if they have some."""
        none = np.zeros(0, np.float32)
        if joints is None:
            return cls(none.reshape(0, 4), none)
        return cls(none.reshape(0, 4), none, none.reshape(0, joints, 2), none.reshape(0, joints))

    @classmethod
    def join(cls, parts: Sequence[Persons]) -> Self:
        """Return the rows of all parts, which must have the same fields; there must be at least one part."""
        names = [a.name for a, _ in parts[0].columns()]
        return cls(**{name: np.concatenate([dict(_columns(part))[name] for part in parts]) for name in names})

    def at(self, time: float, within: float) -> Self:
        """Return the persons in the frame at this time; nobody if none appears at most ``within`` seconds before it."""
        assert self.times is not None, "persons along a video"
        last = int(np.searchsorted(self.times, time + EPSILON, "right"))
        shown = self.times[last - 1] if last else -np.inf
        if time - shown > within:
            return self.select(slice(0, 0))
        return self.select(slice(int(np.searchsorted(self.times, shown - EPSILON)), last))

    def resized(self, factors: tuple[float, float]) -> Self:
        both = np.array(factors, np.float32)
        points = None if self.points is None else self.points * both
        return evolve(self, boxes=self.boxes * np.tile(both, 2), points=points)


def _columns(persons: Persons) -> list[tuple[str, Array]]:
    return [(a.name, value) for a, value in persons.columns()]


@frozen(eq=False)
class PersonScores(WindowScores):
    """The best classes of each person in each window of a video."""

    tracks: Array = field(kw_only=True, validator=shape(None))
    """(n,) int64: identities, as in ``Persons``."""
    boxes: Array | None = field(default=None, kw_only=True, validator=shape(None, 4))
    """(n, 4) float64: where the person is in the middle of the window, as fractions of width and height."""


class PersonDetector(Protocol):
    """Finds persons in frames."""

    def begin(self) -> None:
        """Forget the video so far: the next frame is the first of a different one."""
        ...

    def __call__(self, frames: Array) -> list[Persons]:
        """Return the persons in each frame.

        Args:
            frames: (n, height, width, 3) uint8 RGB: the next frames of the video.
        """
        ...


class PoseEstimator(Protocol):
    """Finds the joints of persons in frames."""

    layout: str
    """Name of the layout of joints, such as ``coco``."""
    needs_boxes: bool
    """Whether persons must have been found by a ``PersonDetector``; otherwise the estimator finds them itself."""

    def begin(self) -> None:
        """Forget the video so far: the next frame is the first of a different one."""
        ...

    def __call__(self, frames: Array, persons: Sequence[Persons] | None = None) -> list[Persons]:
        """Return the persons in each frame, with joints.

        Args:
            frames: (n, height, width, 3) uint8 RGB: the next frames of the video.
            persons: what a detector found in each frame; None if the estimator finds persons itself.
        """
        ...


class Tracker(Protocol):
    """Tells who is who in the frames of a video."""

    def begin(self) -> None:
        """Forget the video so far: the next frame is the first of a different one."""
        ...

    def __call__(self, persons: Persons) -> Persons:
        """Return the persons in the next frame with ``tracks``, which are not used for anybody else in this video."""
        ...


def existing_weights(component: str, path: Path, how: str) -> Path:
    """Return the path of weights; raise ``UserError`` if it does not exist.

    Args:
        component: that needs them, for the message.
        path: file or folder.
        how: where the user gets them.
    """
    if not path.exists():
        raise UserError(f"{component}: weights {path} do not exist; {how}")
    return path
