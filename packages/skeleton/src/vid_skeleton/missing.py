"""Missing joints, and the checks of joints that steps share.

A joint that was not found is stored as zeros, with score 0; a step that moves joints leaves it there.
"""

from __future__ import annotations

import numpy as np

from vidcore.errors import AnnotationError, UserError
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["apart_from_missing", "check_person", "joints_of", "present", "title"]

TINY = np.float32(1e-9)
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


def apart_from_missing(points: Array, found: Array) -> Array:
    """Clear missing joints, and move those that were found away from the origin, by a billionth; in place.

    Args:
        points: (..., coordinates) float32.
        found: (...) bool, of ``present`` before the joints were moved.
    """
    points *= found[..., None]
    points[..., 0][found & ~present(points)] = TINY
    return points


def check_person(sample: Sample, points: Array) -> None:
    """Raise ``AnnotationError`` if a coordinate is not finite, or no joint of any person was found."""
    if not np.isfinite(points.sum()):  # a sum is ten times faster than looking at each number
        wrong = np.argwhere(~np.isfinite(points))
        if len(wrong):
            person, frame, joint, axis = wrong[0].tolist()
            raise AnnotationError(
                f"{title(sample)}: joint {joint} of person {person} in frame {frame} is {points[tuple(wrong[0])]} in "
                f"coordinate {axis}, and {len(wrong) - 1} more numbers are not finite: store missing joints as zeros"
            )
    if not points.any():
        raise AnnotationError(f"{title(sample)}: no joint of any person was found in {points.shape[1]} frames")
