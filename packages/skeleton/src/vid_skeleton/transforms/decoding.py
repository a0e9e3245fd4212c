"""From annotated skeletons to those of the sampled frames: PoseDecode, PadTo, DecompressPose."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import field, frozen

from vid_skeleton.missing import joints_of, title
from vid_skeleton.records import Detections
from vidcore.errors import AnnotationError, UserError
from vidcore.protocols import ReadsJoints
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import at_least, one_of

__all__ = ["DecompressPose", "PadTo", "PoseDecode", "joints_at"]


@frozen
class PoseDecode(ReadsJoints):
    """Keep the joints of the sampled frames, as float32; all frames if none were sampled."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        if sample.clip is None:
            return sample.replace(joints=_of_frames(joints, slice(None)))
        return sample.replace(joints=joints_at(sample, joints, sample.clip.indices))


def joints_at(sample: Sample, joints: Joints, indices: Array) -> Joints:
    """Return the joints of the frames with these numbers, as float32; ``AnnotationError`` if a frame does not exist."""
    frames = indices - sample.start_index + sample.frame_offset
    total = joints.points.shape[1]
    if len(frames) and not (frames.min() >= 0 and frames.max() < total):
        wrong = frames[(frames < 0) | (frames >= total)][0]
        raise AnnotationError(
            f"{title(sample)}: has joints of {total} frames, but frame {wrong} was sampled: total_frames must be "
            "the number of frames with joints"
        )
    return _of_frames(joints, frames)


def _of_frames(joints: Joints, frames: Array | slice) -> Joints:
    scores = None if joints.scores is None else joints.scores[:, frames].astype(np.float32, copy=False)
    return Joints(joints.points[:, frames].astype(np.float32, copy=False), scores)


@frozen
class PadTo:
    """Lengthen a skeleton to a fixed number of frames. Raises ``AnnotationError`` if it is longer."""

    length: int = field(validator=at_least(1))
    """Number of frames."""
    mode: Literal["loop", "zero"] = field(default="loop", validator=one_of("loop", "zero"))
    """``loop``: from its beginning; ``zero``: with missing joints."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        total = joints.points.shape[1]
        if total > self.length:
            raise AnnotationError(f"{title(sample)}: has {total} frames, which is more than PadTo's {self.length}")
        if self.mode == "loop":
            longer = _of_frames(joints, (sample.start_index + np.arange(self.length)) % total)
        else:
            rows = [(0, 0), (0, self.length - total), (0, 0)]
            scores = None if joints.scores is None else np.pad(joints.scores, rows)
            longer = Joints(np.pad(joints.points, [*rows, (0, 0)]), scores)
        return sample.replace(joints=longer, total_frames=self.length)


@frozen
class DecompressPose:
    """Make ``joints`` of the record ``detections`` in ``Sample.extra``, which the files of Kinetics have.

    Person k of a frame becomes row k, so rows are not tracks.
    """

    squeeze: bool = True
    """Remove frames without people; ``total_frames`` then counts the others."""
    max_person: int = field(default=10, validator=at_least(1))
    """People to keep in each frame: those with the highest sums of scores. If any frame has more, the people of each
    are sorted, best first."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        found = sample.extra.get("detections")
        if not isinstance(found, Detections):
            raise UserError("DecompressPose: the sample has no detections: its annotations have joints already")
        if not len(found):
            raise AnnotationError(f"{title(sample)}: has no person in any frame")
        frames, total = found.frames.astype(np.int64), sample.total_frames
        if self.squeeze:
            kept, frames = np.unique(frames, return_inverse=True)
            total = len(kept)
        if total is None or frames[-1] >= total:
            raise AnnotationError(f"{title(sample)}: has a person in frame {frames[-1]}, but {total} frames")
        counts = np.bincount(frames, minlength=total)
        people = min(int(counts.max()), self.max_person)
        points = np.zeros((people, total, *found.points.shape[1:]), np.float32)
        scores = np.zeros((people, total, found.points.shape[1]), np.float32)
        order = np.arange(len(frames))
        if counts.max() > self.max_person:
            order = np.lexsort((-found.scores.sum(1, dtype=np.float32), frames))
        rank = np.arange(len(frames)) - np.repeat(counts.cumsum() - counts, counts)
        order, rank = order[rank < people], rank[rank < people]
        points[rank, frames[order]], scores[rank, frames[order]] = found.points[order], found.scores[order]
        extra = {name: record for name, record in sample.extra.items() if name != "detections"}
        return sample.replace(joints=Joints(points, scores), total_frames=total, extra=extra, clip=None)
