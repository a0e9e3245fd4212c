"""Application of the recorded geometry, to each distinct frame once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from vidcore.errors import UserError
from vidcore.geometry import Geometry
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.typing import Array

__all__ = ["INTERPOLATIONS", "colour_frames", "fill", "frame_count", "realize", "render"]


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
    geometry, count = current(sample), frame_count(sample)
    for scaled, positions in _scaled_frames(sample, geometry):
        for w, window in enumerate(geometry.windows):
            image = _cut(scaled, window, geometry, invert=sample.modality == "Flow")
            for position in positions:
                yield w * count + position, image


def fill(sample: Sample, slot: Callable[[int], Array]) -> None:
    """Write each frame that the next step sees, channel by channel, into ``slot(position)``: (channels, height, width).

    Positions are those of ``render``.
    """
    geometry, count, flow = current(sample), frame_count(sample), sample.modality == "Flow"
    several = len(geometry.windows) > 1
    planes: Array = np.empty((0, 0, 0))
    for scaled, positions in _scaled_frames(sample, geometry):
        if several:  # splitting is slow: once, not for each window
            if not planes.size:
                planes = np.empty((scaled.shape[-1], *geometry.scaled), scaled.dtype)
            cv2.split(scaled, list(planes))
        for w, window in enumerate(geometry.windows):
            first, *others = (slot(w * count + position) for position in positions)
            if several:
                for channel, (plane, out) in enumerate(zip(planes, first, strict=True)):
                    out[...] = _cut(plane[..., None], window, geometry, invert=flow and channel == 0)[..., 0]
            else:  # several times faster than assigning a transposed view
                cv2.split(_cut(scaled, window, geometry, invert=flow), list(first))
            for other in others:
                other[...] = first


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


def colour_frames(sample: Sample, owner: str) -> tuple[Sample, Array]:
    """Apply pending geometry and return the frames, too. Raises ``UserError``, for ``owner``, if they are not RGB."""
    sample = realize(sample)
    assert sample.frames is not None
    if sample.frames.shape[-1] != 3:
        raise UserError(f"{owner} needs frames with 3 channels, got {sample.frames.shape[-1]}")
    return sample, sample.frames


def _scaled_frames(sample: Sample, geometry: Geometry) -> Iterator[tuple[Array, list[int]]]:
    """Yield each frame that is used, resized, and its positions among the frames of a crop."""
    if sample.frames is None:
        raise UserError("the sample has no frames yet: put Decode before this step")
    uses: list[list[int]] = [[] for _ in sample.frames]
    for position, k in enumerate(range(frame_count(sample)) if geometry.order is None else geometry.order):
        uses[k].append(position)
    for frame, positions in zip(sample.frames, uses, strict=True):
        if positions:
            yield _scaled(frame, geometry), positions


def _cut(scaled: Array, window: tuple[int, int, bool], geometry: Geometry, invert: bool) -> Array:
    """Return a window of a resized frame; ``invert``: the first channel is flow to negate if it is mirrored."""
    (left, top, mirrored), (height, width) = window, geometry.size
    image = scaled[top : top + height, left : left + width]
    if mirrored or geometry.upside_down:
        code = -1 if mirrored and geometry.upside_down else int(mirrored)
        image = cv2.flip(image, code).reshape(image.shape)
        if mirrored and invert and geometry.invert_flow:
            image[..., 0] = 255 - image[..., 0]
    return image


def _scaled(frame: Array, geometry: Geometry) -> Array:
    left, top, right, bottom = (round(v) for v in geometry.region)
    right, bottom = max(right, left + 1), max(bottom, top + 1)
    cut = frame[top:bottom, left:right]
    if cut.shape[:2] == geometry.scaled:
        return cut
    height, width = geometry.scaled
    scaled: Array = cv2.resize(cut, (width, height), interpolation=INTERPOLATIONS[geometry.interpolation])
    return scaled.reshape(height, width, -1)  # OpenCV drops an axis of length 1
