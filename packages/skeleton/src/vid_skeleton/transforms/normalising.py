"""Positions of skeletons that do not depend on the picture or the camera: PreNormalize2D, PreNormalize3D."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import evolve, field, frozen

from vid_skeleton.missing import check_person, joints_of, moved, present, title
from vidcore.errors import AnnotationError
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import one_of, pair_of_sizes

__all__ = ["PreNormalize2D", "PreNormalize3D"]


@frozen
class PreNormalize2D:
    """Give positions in half widths and heights of the picture, from its middle: -1 to 1.

    ``geometry`` is removed, because resizes, crops and flips need pixels. Raises ``AnnotationError`` if no joint was
    found, or one is not finite.
    """

    img_shape: Sequence[int] = field(default=(1080, 1920), validator=pair_of_sizes)
    """Height and width of the picture of a sample that does not have them."""
    missing: Literal["stay", "corner"] = field(default="stay", validator=one_of("stay", "corner"))
    """``stay``: missing joints stay missing; ``corner``: they become the upper left corner (-1, -1), as for published
    weights."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        height, width = sample.geometry.size if sample.geometry is not None else self.img_shape
        points = joints.points.copy()  # of the dtype of the annotation, which is half precision in published scores
        check_person(sample, points)
        half = np.array([width / 2, height / 2], points.dtype)
        points[..., :2] = (points[..., :2] - half) / half
        joints = evolve(joints, points=points) if self.missing == "corner" else moved(joints, points)
        return sample.replace(joints=joints, geometry=None)


@frozen
class PreNormalize3D:
    """Move and turn 3-D skeletons so that the main person stands upright at the origin and faces the camera at first.

    The person with joints in more frames becomes the first, and frames without that person are removed. The middle of
    the spine (joint 1 of 25, otherwise the last joint) moves to the origin, the spine to the z axis, and the line
    between the shoulders to the x axis; each is taken from the first frame in which its joints were found.

    Missing joints stay missing; ``meta["body_center"]`` becomes the old position of the origin. Scores are removed,
    because networks of 3-D joints have no channel for them. Raises ``AnnotationError`` if there are more than two
    people (see ``KeepPersons``), or a coordinate is not finite.
    """

    zaxis: Sequence[int] = (0, 1)
    """Lower and upper joint of the spine."""
    xaxis: Sequence[int] = (8, 4)
    """Right and left shoulder."""
    align_spine: bool = True
    """Whether to turn the spine to the z axis."""
    align_shoulder: bool = True
    """Whether to turn the line between the shoulders to the x axis."""
    align_center: bool = True
    """Whether to move the middle of the spine to the origin."""
    empty: Literal["refuse", "keep"] = field(default="refuse", validator=one_of("refuse", "keep"))
    """Samples without any joint: ``refuse`` raises ``AnnotationError``, ``keep`` leaves them as they are."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints = joints_of(sample, self)
        people, _, count, axes = joints.points.shape
        if axes != 3:
            raise AnnotationError(f"{title(sample)}: PreNormalize3D needs x, y and z of joints, got {axes} coordinates")
        if people > 2:
            raise AnnotationError(
                f"{title(sample)}: PreNormalize3D takes one or two people, got {people}: put KeepPersons before it"
            )
        if self.empty == "refuse" or joints.points.any():
            check_person(sample, joints.points)
        else:
            return sample
        if wrong := [joint for joint in (*self.zaxis, *self.xaxis) if not 0 <= joint < count]:
            raise AnnotationError(f"{title(sample)}: has {count} joints, but zaxis or xaxis names joint {wrong[0]}")
        joints = _main_person_first(joints)
        points = joints.points.astype(np.float64)
        found = present(joints.points[0])
        center = 1 if count == 25 else count - 1
        meta = sample.meta
        if self.align_center and (seen := _first(found, [center])) is not None:
            meta = {**meta, "body_center": points[0, seen, center].tolist()}
            points -= points[0, seen, center]
        if self.align_spine and (seen := _first(found, self.zaxis)) is not None:
            points = points @ _turned(points[0, seen], self.zaxis[1], self.zaxis[0], np.array([0, 0, 1.0])).T
        if self.align_shoulder and (seen := _first(found, self.xaxis)) is not None:
            points = points @ _turned(points[0, seen], self.xaxis[0], self.xaxis[1], np.array([1.0, 0, 0])).T
        joints = evolve(moved(joints, points.astype(np.float32)), scores=None)
        return sample.replace(joints=joints, total_frames=joints.points.shape[1], geometry=None, meta=meta)


def _main_person_first(joints: Joints) -> Joints:
    """Return the frames in which the person of most frames was found, with that person first."""
    seen: Array = np.any(present(joints.points), axis=2)
    main = int(seen.sum(axis=1).argmax())
    order = [main, *(person for person in range(len(seen)) if person != main)]
    scores = None if joints.scores is None else joints.scores[order][:, seen[main]]
    return Joints(joints.points[order][:, seen[main]], scores)


def _first(found: Array, joints: Sequence[int]) -> int | None:
    """Return the first frame in which all of some joints were found, None if there is none."""
    frames = np.flatnonzero(found[:, list(joints)].all(axis=1))
    return int(frames[0]) if len(frames) else None


def _turned(points: Array, end: int, start: int, target: Array) -> Array:
    """Return the rotation that turns the line between two joints to a direction: (3, 3) float64 (Rodrigues' formula).

    Args:
        points: (joints, 3) float64.
        end: joint at the end of the line.
        start: joint at its start.
        target: (3,) float64 of length 1.
    """
    line = points[end] - points[start]
    axis = np.cross(line, target)
    length, size = float(np.linalg.norm(line)), float(np.linalg.norm(axis))
    if size < 1e-6 * max(length, 1e-6):
        return np.eye(3)
    x, y, z = axis / size
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turn: Array = np.eye(3) + cross * (size / length) + cross @ cross * (1 - line @ target / length)
    return turn
