"""The changes that RandAugment, AutoAugment, TrivialAugmentWide and AugMix choose from.

``COLOURS`` change levels, ``MOVES`` change positions; both change all frames of a clip equally. Each takes a value in
its own unit: a factor, degrees, a share of the side, a number of bits, a threshold.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["COLOURS", "MOVES", "apply", "warp"]

LEVELS = np.arange(256)


def apply(sample: Sample, name: str, value: float, fill: int) -> Sample:
    """Change the frames of a sample, whose geometry is applied; its boxes and joints follow.

    Args:
        sample: with frames (n, height, width, 3) uint8.
        name: key of ``COLOURS`` or ``MOVES``.
        value: in the unit of that change.
        fill: level of pixels from outside of the frame.
    """
    assert sample.frames is not None
    if name in COLOURS:
        return sample.replace(frames=COLOURS[name](sample.frames, value))
    size = (sample.frames.shape[1], sample.frames.shape[2])
    matrix = MOVES[name](size, value)
    return sample.map_records(lambda r: r.warped(matrix, size), frames=warp(sample.frames, matrix, fill))


# Colours: (frames (n, height, width, 3) uint8, value) -> new frames


def _table(levels: Array) -> Array:
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)


def _blend(frame: Array, other: Array | float, factor: float) -> Array:
    """Blend a frame with another one: factor 1 keeps it, 0 replaces it, 2 extrapolates as far beyond it."""
    weight, rest = np.float32(factor), np.float32(1 - factor)
    if not isinstance(other, np.ndarray):
        return cv2.LUT(frame, _table(weight * LEVELS.astype(np.float32) + rest * np.float32(other)))
    mine, theirs = (np.multiply(f, w, dtype=np.float32) for f, w in ((frame, weight), (other, rest)))
    return cv2.add(mine, theirs, dtype=cv2.CV_8U)  # rounds and clips


def _grey(frame: Array) -> Array:
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def brightness(frames: Array, factor: float) -> Array:
    return np.stack([_blend(frame, 0, factor) for frame in frames])


def contrast(frames: Array, factor: float) -> Array:
    """Blend each frame with its mean grey."""
    return np.stack([_blend(frame, round(float(_grey(frame).mean())), factor) for frame in frames])


def colour(frames: Array, factor: float) -> Array:
    """Blend each pixel with its grey."""
    return np.stack([_blend(frame, cv2.cvtColor(_grey(frame), cv2.COLOR_GRAY2RGB), factor) for frame in frames])


def sharpness(frames: Array, factor: float) -> Array:
    """Blend each frame with a smoothed one."""
    smooth = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    return np.stack([_blend(frame, cv2.filter2D(frame, -1, smooth), factor) for frame in frames])


def auto_contrast(frames: Array, value: float) -> Array:
    """Stretch each channel of a frame to the full range."""
    return np.stack([cv2.merge([_stretched(plane) for plane in cv2.split(frame)]) for frame in frames])


def _stretched(plane: Array) -> Array:
    low, high = int(plane.min()), int(plane.max())
    return plane if low == high else cv2.LUT(plane, _table((LEVELS - low) * np.float32(255 / (high - low))))


def equalize(frames: Array, value: float) -> Array:
    """Flatten the histogram of each channel of a frame."""
    return np.stack([cv2.merge([cv2.equalizeHist(plane) for plane in cv2.split(frame)]) for frame in frames])


def invert(frames: Array, value: float) -> Array:
    return 255 - frames


def posterize(frames: Array, bits: float) -> Array:
    """Keep the highest bits of every level."""
    return frames & np.uint8(256 - (1 << (8 - int(bits))))


def solarize(frames: Array, threshold: float) -> Array:
    """Invert levels from the threshold upwards."""
    table = np.where(threshold <= LEVELS, 255 - LEVELS, LEVELS).astype(np.uint8)
    return np.stack([cv2.LUT(frame, table) for frame in frames])


def identity(frames: Array, value: float) -> Array:
    return frames


COLOURS: dict[str, Callable[[Array, float], Array]] = {
    "brightness": brightness,
    "contrast": contrast,
    "colour": colour,
    "sharpness": sharpness,
    "auto_contrast": auto_contrast,
    "equalize": equalize,
    "invert": invert,
    "posterize": posterize,
    "solarize": solarize,
    "identity": identity,
}


# Moves: (size (height, width), value) -> (2, 3) matrix from the old to the new position of a pixel, counted from the
# middle of the first


def rotate(size: tuple[int, int], degrees: float) -> Array:
    """Rotate about the centre, counterclockwise."""
    return np.asarray(cv2.getRotationMatrix2D(((size[1] - 1) / 2, (size[0] - 1) / 2), degrees, 1))


def shear_x(size: tuple[int, int], tangent: float) -> Array:
    return np.array([[1, tangent, 0], [0, 1, 0]])


def shear_y(size: tuple[int, int], tangent: float) -> Array:
    return np.array([[1, 0, 0], [tangent, 1, 0]])


def translate_x(size: tuple[int, int], share: float) -> Array:
    return np.array([[1, 0, share * size[1]], [0, 1, 0]])


def translate_y(size: tuple[int, int], share: float) -> Array:
    return np.array([[1, 0, 0], [0, 1, share * size[0]]])


MOVES: dict[str, Callable[[tuple[int, int], float], Array]] = {
    "rotate": rotate,
    "shear_x": shear_x,
    "shear_y": shear_y,
    "translate_x": translate_x,
    "translate_y": translate_y,
}


def warp(frames: Array, matrix: Array, fill: int) -> Array:
    """Move the pixels of frames (n, height, width, 3); those from outside get the level ``fill``."""
    size = (frames.shape[2], frames.shape[1])
    out = np.empty_like(frames)
    for frame, target in zip(frames, out, strict=True):
        cv2.warpAffine(frame, matrix, size, dst=target, borderValue=(fill, fill, fill))
    return out
