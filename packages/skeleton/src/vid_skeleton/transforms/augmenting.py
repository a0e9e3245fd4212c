"""Random changes of skeletons in the plane or in space, before ``GenSkeFeat``; missing joints stay missing.

All people and frames of a sample change alike, around the middle of all joints that were found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import evolve, field, frozen

from vid_skeleton.graphs import Layout
from vid_skeleton.missing import joints_of, moved, present
from vid_skeleton.transforms.layouts import LayoutName, check_count, known_layout, layout_of
from vidcore.errors import UserError
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import at_least, in_range

__all__ = ["RandomJointFlip", "RandomJointJitter", "RandomJointRotation", "RandomJointScale", "RandomJointShear"]


def _degrees(value: float | Sequence[float]) -> tuple[float, float, float]:
    angles = (value,) * 3 if isinstance(value, int | float) else tuple(value)
    if len(angles) != 3 or min(angles) < 0:
        raise UserError(f"degrees must be one number of at least 0, or three of them for x, y and z, got {value!r}")
    return angles[0], angles[1], angles[2]


@frozen
class RandomJointRotation:
    """Turn skeletons by random angles: 2-D ones in the plane of the picture, 3-D ones around x, y and z."""

    degrees: float | Sequence[float] = field(default=(17.0, 17.0, 17.0), converter=_degrees)
    """Largest angles around x, y and z in either direction, or one number for all; 2-D skeletons use the last."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints, axes = _checked(sample, self)
        angles = np.radians(rng.uniform(-1, 1, 3) * self.degrees)
        if axes == 2:
            return _mapped(sample, joints, _turn(angles[2], 0, 1, 2))
        matrix = _turn(angles[0], 1, 2, 3) @ _turn(angles[1], 2, 0, 3) @ _turn(angles[2], 0, 1, 3)
        return _mapped(sample, joints, matrix)


@frozen
class RandomJointScale:
    """Stretch or shrink skeletons by a random factor for each axis."""

    amount: float = field(default=0.2, validator=in_range(0, 0.99))
    """Factors are between 1 - ``amount`` and 1 + ``amount``."""
    same: bool = False
    """Whether all axes get the same factor."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints, axes = _checked(sample, self)
        factors = 1 + rng.uniform(-self.amount, self.amount, 1 if self.same else axes)
        return _mapped(sample, joints, np.diag(np.broadcast_to(factors, axes)))


@frozen
class RandomJointShear:
    """Shear skeletons: each coordinate gets random shares of the others added."""

    amount: float = field(default=0.3, validator=at_least(0))
    """Largest share in either direction."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints, axes = _checked(sample, self)
        matrix = rng.uniform(-self.amount, self.amount, (axes, axes))
        np.fill_diagonal(matrix, 1)
        return _mapped(sample, joints, matrix)


@frozen
class RandomJointJitter:
    """Move each joint in each frame by normal noise."""

    amount: float = field(default=0.01, validator=at_least(0))
    """Standard deviation, as a share of the diagonal of the box around all joints."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints, _ = _checked(sample, self)
        known = joints.points[present(joints.points)]
        size = np.linalg.norm(np.ptp(known, axis=0)) if len(known) else 0.0
        noise = rng.standard_normal(joints.points.shape, np.float32) * np.float32(self.amount * size)
        return sample.replace(joints=moved(joints, joints.points + noise))


def _two_sides(dataset: LayoutName | Layout) -> LayoutName | Layout:
    if not layout_of(known_layout(dataset)).left:
        raise UserError("RandomJointFlip exchanges the joints of both sides: add left and right to the layout")
    return dataset


@frozen
class RandomJointFlip:
    """Mirror x and exchange left and right joints, with probability ``flip_ratio``; needs no size of the picture.

    ``Flip`` mirrors skeletons in pixels together with their picture.
    """

    dataset: LayoutName | Layout = field(default="nturgb+d", converter=_two_sides)
    """Layout of the joints: a name, or a table with ``left`` and ``right``."""
    flip_ratio: float = field(default=0.5, validator=in_range(0, 1))
    """Probability."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        joints, axes = _checked(sample, self)
        layout = layout_of(self.dataset)
        check_count(sample, joints.points.shape[2], self.dataset, self)
        if rng.random() >= self.flip_ratio:
            return sample
        order = np.arange(layout.num_node)
        order[[*layout.left, *layout.right]] = [*layout.right, *layout.left]
        scores = None if joints.scores is None else joints.scores[:, :, order]
        swapped = evolve(joints, points=joints.points[:, :, order], scores=scores)
        return _mapped(sample, swapped, np.diag([-1.0, 1.0, 1.0][:axes]))


def _checked(sample: Sample, step: object) -> tuple[Joints, int]:
    """Return the joints and the number of their coordinates."""
    joints = joints_of(sample, step)
    axes = joints.points.shape[-1]
    if axes not in (2, 3):
        raise UserError(f"{type(step).__name__}: takes x and y, or x, y and z, got {axes}: put it before GenSkeFeat")
    return joints, axes


def _mapped(sample: Sample, joints: Joints, matrix: Array) -> Sample:
    """Return the sample with its joints mapped by a matrix (axes, axes), around their middle."""
    found = present(joints.points)
    middle = joints.points.mean(axis=(0, 1, 2), where=found[..., None]) if found.any() else 0
    points = (joints.points - middle) @ matrix.T.astype(np.float32) + middle
    return sample.replace(joints=moved(joints, points))


def _turn(angle: float, first: int, second: int, axes: int) -> Array:
    """Return the rotation from one axis towards another: (axes, axes) float64."""
    matrix = np.eye(axes)
    matrix[[first, second], [first, second]] = np.cos(angle)
    matrix[second, first] = np.sin(angle)
    matrix[first, second] = -matrix[second, first]
    return matrix
