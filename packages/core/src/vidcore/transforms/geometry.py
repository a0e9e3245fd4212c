"""Resizing, cropping and flipping: recorded on the sample, moving everything that has coordinates.

Steps change only the ``Geometry`` of a sample, and boxes and joints with it; pixels are made
once, by the first step that needs them (``vidcore.transforms.pixels``). What is recorded is at
most: a region of the stored frames, scaled to one size, of which one or more windows are
cut, each perhaps mirrored.

- Crops after a resize are windows of the scaled frames: exactly resize, then crop.
- A resize after a crop makes the crop the region: the original pixels are cut (at whole
  pixels) and interpolated once. ``Resize, RandomResizedCrop, Resize`` thus costs one small
  interpolation and is sharper than two; put ``Fuse`` after each step to interpolate every time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from attrs import evolve

from vidcore.errors import UserError
from vidcore.geometry import Box, Geometry
from vidcore.sample import Sample

__all__ = ["crop", "current", "flip", "resize"]

Array = np.ndarray[Any, np.dtype[Any]]


def current(sample: Sample) -> Geometry:
    """The geometry of a sample that has frames, or whose frame size is known."""
    geometry = sample.geometry
    if sample.frames is None:
        if geometry is None:
            raise UserError("the sample has no frames yet: put Decode before this step")
        return geometry
    stored = (sample.frames.shape[1], sample.frames.shape[2])
    if geometry is None or (geometry.source != stored and not geometry.pending):
        return Geometry.whole(stored)
    if geometry.source != stored:
        raise UserError(
            f"a step made frames of {geometry.source} into {stored} (height, width) without regard to the resizes "
            "and crops before it: it must call vidcore.transforms.pixels.realize first"
        )
    return geometry


def resize(sample: Sample, size: tuple[int, int], interpolation: str = "bilinear") -> Sample:
    """Scale frames, boxes and joints to that height and width."""
    geometry = current(sample)
    factors = np.array([size[1] / geometry.size[1], size[0] / geometry.size[0]], np.float32)
    joints = sample.joints
    if joints is not None:
        joints = joints.copy()
        joints[..., :2] *= factors
    return sample.replace(
        geometry=geometry.resized(size, interpolation),
        boxes=_moved(sample.boxes, lambda b: b * np.tile(factors, 2)),
        proposals=_moved(sample.proposals, lambda b: b * np.tile(factors, 2)),
        joints=joints,
    )


def crop(sample: Sample, boxes: Sequence[Box], mirrored: Sequence[bool] | None = None) -> Sample:
    """Cut frames, boxes and joints; several boxes make several crops of every clip.

    Boxes of objects are clipped to the crop, ``[0, size - 1]``, and kept where nothing is left of them.
    """
    geometry = current(sample)
    height, width = geometry.size
    for left, top, right, bottom in boxes:
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise UserError(
                f"a crop of {right - left} x {bottom - top} pixels does not fit into frames of {width} x {height} "
                "(width x height): resize them to at least that size before"
            )
    mirrored = mirrored or [False] * len(boxes)
    geometry = geometry.cropped(boxes, mirrored)
    if len(boxes) > 1:
        if sample.boxes is not None or sample.proposals is not None or sample.joints is not None:
            raise UserError("several crops of a clip cannot share its boxes or joints: use CenterCrop")
        return sample.replace(geometry=geometry, num_crops=sample.num_crops * len(boxes))
    left, top, right, bottom = boxes[0]
    origin = np.array([left, top], np.float32)
    limit = np.array([right - left - 1, bottom - top - 1] * 2, np.float32)

    def move(b: Array) -> Array:
        return np.asarray(np.clip(b - np.tile(origin, 2), 0, limit))

    joints = sample.joints
    if joints is not None:
        joints = joints.copy()
        joints[..., :2] -= origin
    return sample.replace(
        geometry=geometry, boxes=_moved(sample.boxes, move), proposals=_moved(sample.proposals, move), joints=joints
    )


def flip(
    sample: Sample, direction: str = "horizontal", left_kp: Sequence[int] = (), right_kp: Sequence[int] = ()
) -> Sample:
    """Mirror frames, boxes and joints (joints at x = 0 are missing ones and stay); see ``Flip``."""
    geometry = current(sample)
    height, width = geometry.size
    if direction == "vertical":
        if sample.modality == "Flow" or sample.joints is not None:
            raise UserError("vertical flipping is not defined for flow and joints")
        geometry = evolve(geometry, upside_down=not geometry.upside_down)
    else:
        geometry = evolve(geometry, windows=tuple((x, y, not mirrored) for x, y, mirrored in geometry.windows))

    def move(b: Array) -> Array:
        moved = b.copy()
        if direction == "vertical":
            moved[:, [1, 3]] = height - b[:, [3, 1]]
        else:
            moved[:, [0, 2]] = width - b[:, [2, 0]]
        return moved

    joints = sample.joints
    if joints is not None:
        joints = joints.copy()
        x = joints[..., 0]
        x[x != 0] = width - x[x != 0]
        swapped = np.arange(joints.shape[2])
        swapped[list(left_kp)], swapped[list(right_kp)] = right_kp, left_kp
        joints = joints[:, :, swapped]
    return sample.replace(
        geometry=geometry, boxes=_moved(sample.boxes, move), proposals=_moved(sample.proposals, move), joints=joints
    )


def _moved(boxes: Array | None, move: Callable[[Array], Array]) -> Array | None:
    return None if boxes is None else move(np.asarray(boxes, np.float32)).astype(np.float32, copy=False)
