"""Missing joints, and the checks of joints that steps share.

A joint that was not found is stored as zeros, with score 0; a step that moves joints leaves it there.
"""

from __future__ import annotations

import numpy as np
from attrs import evolve

from vidcore.errors import AnnotationError, UserError
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["check_finite", "check_person", "joints_of", "moved", "present", "title"]

TINY = 1e-7
"""First coordinate of a joint that a step moves to the origin, where it would count as missing."""


def title(sample: Sample) -> str:
    """Return the name of a sample for messages."""
    return sample.key or sample.path or f"sample {sample.index}"


def joints_of(sample: Sample, step: object) -> Joints:
    """Return the joints of a sample. Raises ``UserError`` if it has none, ``AnnotationError`` if it has no person."""
    if sample.joints is None:
        raise UserError(f"{type(step).__name__}: the sample has no joints: use a dataset of skeletons")
    if not sample.joints.points.shape[0] or not sample.joints.points.shape[1]:
        people, frames = sample.joints.points.shape[:2]
        raise AnnotationError(f"{title(sample)}: has no person to recognise ({people} people, {frames} frames)")
    return sample.joints


def present(points: Array) -> Array:
    """Return which joints were found: (...) bool for points (..., coordinates)."""
    found: Array = points[..., 0] != 0
    for axis in range(1, points.shape[-1]):
        found = found | (points[..., axis] != 0)
    return found


def moved(joints: Joints, points: Array) -> Joints:
    """Return joints at other positions (people, frames, joints, coordinates), of which missing ones stay missing.

    ``points`` is changed: a joint that came to the origin is moved away, by a ten-millionth.
    """
    found = present(joints.points)
    points *= found[..., None]
    points[..., 0][found & ~present(points)] = TINY
    return evolve(joints, points=points)


def check_finite(sample: Sample, points: Array) -> None:
    """Raise ``AnnotationError`` if a coordinate (people, frames, joints, coordinates) is not finite."""
    if np.isfinite(points.sum(dtype=np.float32)):  # ten times faster than to look at each number
        return
    wrong = np.argwhere(~np.isfinite(points))
    if len(wrong):
        person, frame, joint, axis = wrong[0].tolist()
        raise AnnotationError(
            f"{title(sample)}: coordinate {axis} of joint {joint} of person {person} in frame {frame} is "
            f"{points[tuple(wrong[0])]}, and {len(wrong)} numbers in all are not finite: store missing joints as zeros"
        )


def check_person(sample: Sample, points: Array) -> None:
    """Raise ``AnnotationError`` if a coordinate is not finite, or no joint of any person was found."""
    check_finite(sample, points)
    if not points.any():
        raise AnnotationError(f"{title(sample)}: no joint of any person was found in {points.shape[1]} frames")
