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
from attrs import evolve, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample

__all__ = ["Geometry", "crop", "current", "flip", "resize"]

Array = np.ndarray[Any, np.dtype[Any]]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom are the first outside."""


@frozen(eq=False, repr=False, kw_only=True)
class Geometry:
    """How the frames that the next step sees come out of those in ``Sample.frames``."""

    source: tuple[int, int]
    """Height and width of the stored frames."""
    region: tuple[float, float, float, float]
    """Left, top, right, bottom of the used part of the stored frames, in pixels."""
    scaled: tuple[int, int]
    """Height and width to which the region is resized."""
    size: tuple[int, int]
    """Height and width of the windows: of the frames that the next step sees."""
    windows: tuple[tuple[int, int, bool], ...] = ((0, 0, False),)
    """Left and top of each window in the scaled region, and whether it is mirrored."""
    upside_down: bool = False
    """Whether all windows are flipped vertically."""
    invert_flow: bool = True
    """Whether mirroring negates horizontal flow (255 - value)."""
    interpolation: str = "bilinear"
    """Key of ``vidcore.transforms.pixels.INTERPOLATIONS``."""
    order: Array | None = None
    """(num_clips * clip_len,) position in ``Sample.frames`` of each frame; None: as they are."""
    scale_factor: tuple[float, float] = (1.0, 1.0)
    """Horizontal and vertical factor of all resizes together."""
    crop_quadruple: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """x, y, width, height of all crops together, relative to the decoded frame."""

    @classmethod
    def whole(cls, size: tuple[int, int], order: Array | None = None) -> Geometry:
        """Nothing pending: frames of that height and width."""
        height, width = size
        return cls(source=size, region=(0.0, 0.0, width, height), scaled=size, size=size, order=order)

    def __repr__(self) -> str:
        return f"Geometry({self.source} -> {self.size})"

    @property
    def pending(self) -> bool:
        """Whether the stored frames differ from those that the next step sees."""
        return not (
            self.order is None
            and self.source == self.scaled == self.size
            and self.region == (0.0, 0.0, self.source[1], self.source[0])
            and self.windows == ((0, 0, False),)
            and not self.upside_down
        )

    def done(self) -> Geometry:
        """The same history for frames that have been made."""
        record = Geometry.whole(self.size)
        return evolve(record, scale_factor=self.scale_factor, crop_quadruple=self.crop_quadruple)

    def resized(self, size: tuple[int, int], interpolation: str) -> Geometry:
        """This, then its one window scaled to (height, width)."""
        assert len(self.windows) == 1, "several windows are made into frames before a resize"
        (left, top, mirrored), (height, width) = self.windows[0], self.size
        across = (self.region[2] - self.region[0]) / self.scaled[1]
        down = (self.region[3] - self.region[1]) / self.scaled[0]
        x, y = self.region[0] + left * across, self.region[1] + top * down
        return evolve(
            self,
            region=(x, y, x + width * across, y + height * down),
            scaled=size,
            size=size,
            windows=((0, 0, mirrored),),
            interpolation=interpolation,
            scale_factor=(self.scale_factor[0] * size[1] / width, self.scale_factor[1] * size[0] / height),
        )

    def cropped(self, boxes: Sequence[Box], mirrored: Sequence[bool]) -> Geometry:
        """This, then every box cut out of every window, and mirrored where that says so."""
        height, width = self.size
        windows = []
        for (left, top, right, bottom), mirror in zip(boxes, mirrored, strict=True):
            for x, y, was_mirrored in self.windows:
                x += width - right if was_mirrored else left
                y += height - bottom if self.upside_down else top
                windows.append((x, y, was_mirrored != mirror))
        (left, top, right, bottom), (x0, y0, w0, h0) = boxes[0], self.crop_quadruple
        quadruple = (
            x0 + left / width * w0,
            y0 + top / height * h0,
            (right - left) / width * w0,
            (bottom - top) / height * h0,
        )
        return evolve(
            self,
            windows=tuple(windows),
            size=(bottom - top, right - left),
            crop_quadruple=quadruple if len(boxes) == 1 else self.crop_quadruple,
        )


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
    if len(current(sample).windows) > 1:
        from vidcore.transforms.pixels import realize  # the one case of pixels made here; avoids a cycle

        sample = realize(sample)
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
