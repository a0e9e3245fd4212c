"""Resizing, cropping and flipping of a sample.

Steps change only the ``Geometry`` of a sample and its records; pixels are made once, by the first step that needs
them (``vidcore.transforms.pixels``).

- Crops after a resize are windows of the scaled frames: exactly resize, then crop.
- A resize after a crop makes the crop the region: the original pixels are cut (at whole
  pixels) and interpolated once. So ``Resize, RandomResizedCrop, Resize`` costs one small
  interpolation and is sharper than two; put ``Fuse`` after each step to interpolate every time.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import evolve

from vidcore.errors import UserError
from vidcore.geometry import Box, Geometry
from vidcore.sample import Sample

__all__ = ["crop", "current", "flip", "resize"]


def current(sample: Sample) -> Geometry:
    """Return the geometry of a sample with frames, or of known frame size."""
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
            f"a step changed frames from {geometry.source} to {stored} (height, width) while resizes or crops were "
            "pending: it must call vidcore.transforms.pixels.realize first"
        )
    return geometry


def resize(sample: Sample, size: tuple[int, int], interpolation: str = "bilinear") -> Sample:
    """Scale frames and records to (height, width)."""
    geometry = current(sample)
    factors = (size[1] / geometry.size[1], size[0] / geometry.size[0])
    return sample.map_records(lambda r: r.resized(factors), geometry=geometry.resized(size, interpolation))


def crop(sample: Sample, boxes: Sequence[Box], mirrored: Sequence[bool] | None = None) -> Sample:
    """Crop frames and records; several boxes make several crops of every clip.

    Boxes of objects are clipped to ``[0, size - 1]`` of the crop, and kept if they are outside of it.
    """
    geometry = current(sample)
    height, width = geometry.size
    for left, top, right, bottom in boxes:
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise UserError(
                f"a crop of {right - left} x {bottom - top} pixels does not fit into frames of {width} x {height} "
                "(width x height): resize them to at least that size first"
            )
    geometry = geometry.cropped(boxes, mirrored or [False] * len(boxes))
    if len(boxes) == 1:
        return sample.map_records(lambda r: r.cropped(boxes[0]), geometry=geometry)
    shared = next((name for name, record in sample.records() if record.follows_crops), None)
    if shared is not None:
        raise UserError(f"several crops of a clip cannot share its {shared}: use CenterCrop")
    return sample.replace(geometry=geometry, num_crops=sample.num_crops * len(boxes))


def flip(sample: Sample, direction: str = "horizontal", swaps: Sequence[tuple[int, int]] = ()) -> Sample:
    """Mirror frames and records; ``swaps`` are pairs of left and right joints."""
    geometry = current(sample)
    if direction == "vertical":
        if sample.modality == "Flow":
            raise UserError("vertical flipping is not defined for flow")
        after = evolve(geometry, upside_down=not geometry.upside_down)
    else:
        after = evolve(geometry, windows=tuple((x, y, not mirrored) for x, y, mirrored in geometry.windows))
    return sample.map_records(lambda r: r.flipped(geometry.size, direction, swaps), geometry=after)
