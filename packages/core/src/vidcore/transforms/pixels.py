"""Application of the recorded geometry, to each distinct frame once."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from vidcore.errors import UserError
from vidcore.geometry import Geometry
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.typing import Array

__all__ = ["INTERPOLATIONS", "frame_count", "realize", "render"]


INTERPOLATIONS = {
    "nearest": cv2.INTER_NEAREST,
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
    "lanczos": cv2.INTER_LANCZOS4,
}


def frame_count(sample: Sample) -> int:
    """Return the number of frames that the next step sees, not counting crops."""
    assert sample.frames is not None
    geometry = sample.geometry
    return len(sample.frames) if geometry is None or geometry.order is None else len(geometry.order)


def render(sample: Sample) -> Iterator[tuple[int, Array]]:
    """Yield each frame that the next step sees, as (position, (height, width, channels)).

    Positions count all frames of the first crop, then those of the second, and so on; their order
    is arbitrary. The array may be a view, and is only valid until the next one.
    """
    if sample.frames is None:
        raise UserError("the sample has no frames yet: put Decode before this step")
    geometry = current(sample)
    count = frame_count(sample)
    uses: list[list[int]] = [[] for _ in sample.frames]
    for position, k in enumerate(range(count) if geometry.order is None else geometry.order):
        uses[k].append(position)
    height, width = geometry.size
    for frame, positions in zip(sample.frames, uses, strict=True):
        if not positions:
            continue
        scaled = _scaled(frame, geometry)
        for w, (left, top, mirrored) in enumerate(geometry.windows):
            image = scaled[top : top + height, left : left + width]
            if mirrored or geometry.upside_down:
                code = -1 if mirrored and geometry.upside_down else int(mirrored)
                image = cv2.flip(image, code).reshape(image.shape)
                if mirrored and sample.modality == "Flow" and geometry.invert_flow:
                    image[..., 0] = 255 - image[..., 0]
            for position in positions:
                yield w * count + position, image


def realize(sample: Sample) -> Sample:
    """Apply pending geometry to the frames: (views * clip_len, height, width, channels).

    Every transform that reads ``sample.frames`` calls this first.
    """
    if sample.frames is None:
        raise UserError("the sample has no frames yet: put Decode before this step")
    geometry = current(sample)
    if not geometry.pending:
        return sample.replace(geometry=geometry)
    count = frame_count(sample) * len(geometry.windows)
    out = np.empty((count, *geometry.size, sample.frames.shape[-1]), sample.frames.dtype)
    for position, image in render(sample):
        out[position] = image
    return sample.replace(frames=out, geometry=geometry.done())


def _scaled(frame: Array, geometry: Geometry) -> Array:
    left, top, right, bottom = (round(v) for v in geometry.region)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    cut = frame[top:bottom, left:right]
    if cut.shape[:2] == geometry.scaled:
        return cut
    height, width = geometry.scaled
    scaled: Array = cv2.resize(cut, (width, height), interpolation=INTERPOLATIONS[geometry.interpolation])
    return scaled.reshape(height, width, -1)  # OpenCV drops an axis of length 1
