"""Records of this package."""

from __future__ import annotations

from attrs import field, frozen

from vidcore.errors import AnnotationError
from vidcore.record import Record, shape
from vidcore.typing import Array

__all__ = ["Detections", "PoseClip"]


@frozen(eq=False)
class Detections(Record):
    """People that a detector found in single frames, not yet linked over time; a row for each, in order of frames."""

    points: Array = field(validator=shape(None, None, None))
    """(n, joints, 2 or 3) float: pixels."""
    scores: Array = field(validator=shape(None, None))
    """(n, joints) float: confidence of the estimator."""
    frames: Array = field(validator=shape(None))
    """(n,) int: frame of each, from 0; never falling."""

    def __attrs_post_init__(self) -> None:
        if len({len(self.points), len(self.scores), len(self.frames)}) > 1:
            raise AnnotationError(
                f"detections need as many points, scores and frames, got {len(self.points)}, {len(self.scores)} and "
                f"{len(self.frames)}"
            )
        falls = (self.frames[1:] < self.frames[:-1]).nonzero()[0]
        if len(falls):
            row = int(falls[0])
            raise AnnotationError(
                f"detections must be in the order of their frames, but row {row + 1} is of frame "
                f"{self.frames[row + 1]}, after frame {self.frames[row]}"
            )


@frozen(eq=False)
class PoseClip(Record):
    """The frames of which skeletons are used, beside ``Sample.clip``, those of which pixels are."""

    indices: Array = field(validator=shape(None))
    """(clips * length,) int64: numbers of frames, clip by clip."""
