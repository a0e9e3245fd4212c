"""Streams of graph networks: JointToBone, ToMotion, MergeSkeFeat, GenSkeFeat.

With 2-D joints, the score of a joint is the last channel. A bone or a motion with a missing end is 0, also its score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import field, frozen

from vid_skeleton.graphs import Layout
from vid_skeleton.missing import joints_of, present, title
from vid_skeleton.transforms.layouts import LayoutName, check_count, known_layout
from vidcore.errors import AnnotationError, UserError, nearest
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import one_of

__all__ = ["GenSkeFeat", "JointToBone", "MergeSkeFeat", "ToMotion"]

Stream = Literal["j", "b", "jm", "bm"]
Missing = Literal["skip", "zero"]
PLANE = ("coco", "openpose")
"""Layouts of 2-D joints, whose third channel is a score."""
PARENTS = {
    "coco": (0, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 0, 0, 11, 12, 13, 14),
    "nturgb+d": (1, 20, 20, 2, 20, 4, 5, 6, 20, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18, 20, 22, 7, 24, 11),
    "openpose": (0, 0, 1, 2, 3, 1, 5, 6, 2, 8, 9, 5, 11, 12, 0, 0, 14, 15),
}
"""Where the bone of each joint begins, as for published weights; some are not edges of the graph."""


@frozen
class _OfLayout:
    """Arguments of steps that depend on the layout."""

    dataset: LayoutName | Layout = field(default="nturgb+d", converter=known_layout)
    """Layout of the joints: a name, or ``{num_node = ..., inward = [[joint, parent], ...]}``."""

    def parents(self) -> Array:
        """Return where the bone of each joint begins: (joints,) int64; the centre is its own parent."""
        if not isinstance(self.dataset, Layout):
            return np.array(PARENTS[self.dataset])
        parents = np.arange(self.dataset.num_node)
        for joint, parent in self.dataset.inward:
            parents[joint] = parent
        return parents

    def scored(self, channels: int) -> bool:
        """Return whether the last of these channels is a score."""
        return self.dataset in PLANE and channels == 3

    def checked(self, sample: Sample, points: Array) -> Array:
        """Return the points. Raises ``AnnotationError`` if they do not belong to the layout."""
        joints, channels = points.shape[2:]
        check_count(sample, joints, self.dataset, self)
        if channels not in (2, 3):
            raise AnnotationError(
                f"{title(sample)}: {type(self).__name__} takes x and y, with a score, or x, y and z; "
                f"joints have {channels} channels"
            )
        return points


def _get(sample: Sample, name: str, step: object) -> Joints:
    if name == "keypoint":
        return joints_of(sample, step)
    record = sample.extra.get(name)
    if not isinstance(record, Joints):
        raise UserError(f"{type(step).__name__}: the sample has no joints {name!r}{nearest(name, sample.extra)}")
    return record


def _put(sample: Sample, name: str, joints: Joints) -> Sample:
    return sample.replace(joints=joints) if name == "keypoint" else sample.with_extra(**{name: joints})


@frozen
class JointToBone(_OfLayout):
    """Replace each joint by the vector from its parent, which is nearer to the centre; that of the centre is 0."""

    target: str = "keypoint"
    """Where to put the bones: ``keypoint`` for ``joints``, otherwise a name in ``Sample.extra``."""
    missing: Missing = field(default="skip", validator=one_of("skip", "zero"))
    """Missing joints: ``skip`` makes the bone 0; ``zero`` takes them as points at 0, as for published weights."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        points = self.checked(sample, joints_of(sample, self).points)
        scored = self.scored(points.shape[-1])
        made, _ = bones(points, self.parents(), scored, _found(points, scored) if self.missing == "skip" else None)
        return _put(sample, self.target, Joints(made))


@frozen
class ToMotion(_OfLayout):
    """Take the way that each joint makes to the next frame, which is 0 in the last one."""

    source: str = "keypoint"
    """What to take the motion of: ``keypoint`` for ``joints``, otherwise a name in ``Sample.extra``."""
    target: str = "motion"
    """Where to put it, likewise."""
    missing: Missing = field(default="skip", validator=one_of("skip", "zero"))
    """Missing joints: ``skip`` makes the motion 0; ``zero`` takes them as points at 0, as for published weights."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        points = self.checked(sample, _get(sample, self.source, self).points)
        scored = self.scored(points.shape[-1])
        made = motion(points, scored, _found(points, scored) if self.missing == "skip" else None)
        return _put(sample, self.target, Joints(made))


@frozen
class MergeSkeFeat:
    """Concatenate joints, bones and motion, or whatever other steps have made."""

    feat_list: Sequence[str] = ("keypoint",)
    """``keypoint`` for ``joints``, and names in ``Sample.extra``."""
    target: str = "keypoint"
    """Where to put the result, likewise."""
    axis: int = -1
    """Axis of (people, frames, joints, channels)."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        parts = [_get(sample, name, self).points for name in self.feat_list]
        extra = {name: record for name, record in sample.extra.items() if name not in self.feat_list}
        return _put(sample.replace(extra=extra), self.target, Joints(_joined(parts, self.axis)))


@frozen
class GenSkeFeat(_OfLayout):
    """Make the streams of a graph network of joints: joint, bone, and the motion of either; scores become a channel.

    Raises ``AnnotationError`` if the joints do not belong to the layout.
    """

    feats: Sequence[Stream] = ("j",)
    """Streams, concatenated in this order: ``j`` joints, ``b`` bones, ``jm`` motion of joints, ``bm`` of bones."""
    axis: int = -1
    """Axis along which several are concatenated."""
    missing: Missing = field(default="skip", validator=one_of("skip", "zero"))
    """Missing joints: ``skip`` makes bone or motion 0; ``zero`` takes them as points at 0, as for published weights."""

    def __attrs_post_init__(self) -> None:
        if not self.feats or (wrong := [name for name in self.feats if name not in ("j", "b", "jm", "bm")]):
            raise UserError(
                f"GenSkeFeat: feats must be some of j, b, jm and bm, got {wrong[0] if self.feats else 'none'!r}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        points = joints.points
        if joints.scores is not None:
            if points.shape[-1] != 2 or (not isinstance(self.dataset, Layout) and self.dataset not in PLANE):
                raise AnnotationError(
                    f"{title(sample)}: scores go with x and y of 2-D joints, but dataset is {self.dataset!r} and "
                    f"joints have {points.shape[-1]} coordinates: PreNormalize3D removes the scores of 3-D joints"
                )
            points = np.concatenate((points, joints.scores[..., None]), axis=-1)
        self.checked(sample, points)
        scored = joints.scores is not None or self.scored(points.shape[-1])
        return sample.replace(joints=Joints(_joined(self._streams(points, scored), self.axis)))

    def _streams(self, points: Array, scored: bool) -> list[Array]:
        found = _found(points, scored) if self.missing == "skip" else None
        streams = {"j": points}
        if {"b", "bm"} & set(self.feats):
            streams["b"], both = bones(points, self.parents(), scored, found)
            if "bm" in self.feats:
                streams["bm"] = motion(streams["b"], scored, both)
        if "jm" in self.feats:
            streams["jm"] = motion(points, scored, found)
        return [streams[name] for name in self.feats]


def bones(points: Array, parents: Array, scored: bool, found: Array | None) -> tuple[Array, Array | None]:
    """Return the bones of (people, frames, joints, channels), and which were found.

    Args:
        points: x and y, or x, y and z, and perhaps a score, of which a bone has the mean.
        parents: (joints,) int64: where the bone of each joint begins.
        scored: whether the last channel is a score.
        found: (people, frames, joints) bool: joints that were found; None: all.
    """
    ends = points[:, :, parents]
    made = points - ends
    if scored:
        made[..., -1] = (points[..., -1] + ends[..., -1]) / 2
    if found is not None and not found.all():
        found = found & found[:, :, parents]
        made *= found[..., None]
    return made, found


def motion(points: Array, scored: bool, found: Array | None) -> Array:
    """Return the motion to the next frame of joints or bones; arguments as those of ``bones``."""
    made = np.zeros_like(points)
    np.subtract(points[:, 1:], points[:, :-1], out=made[:, :-1])
    if scored:
        made[:, :-1, :, -1] = (points[:, 1:, :, -1] + points[:, :-1, :, -1]) / 2
    if found is not None and not found.all():
        made[:, :-1] *= (found[:, 1:] & found[:, :-1])[..., None]
    return made


def _found(points: Array, scored: bool) -> Array:
    return present(points[..., :-1] if scored else points)


def _joined(parts: Sequence[Array], axis: int) -> Array:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)
