"""RandAugment (Cubuk et al., RandAugment: Practical automated data augmentation with a reduced search space)."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.transforms.pixels import realize
from vidcore.typing import Array
from vidcore.validators import at_least, in_range

__all__ = ["OPERATIONS", "RandAugment"]

Operation = Callable[[Array, float], Array]
"""(frame (height, width, 3) uint8, strength) -> frame. Strength is 0 (mild) to 1, or -1 to 1 if signed."""

LEVELS = np.arange(256)


def _table(levels: Array) -> Array:
    return np.clip(np.round(levels), 0, 255).astype(np.uint8)


def _blend(frame: Array, other: Array | float, strength: float) -> Array:
    """Blend two frames: strength 0 keeps the first, -1 leaves a tenth of it, 1 extrapolates as far beyond it."""
    factor = 1 + 0.9 * strength
    return _table(factor * frame.astype(np.float32) + (1 - factor) * np.asarray(other, np.float32))


def _grey(frame: Array) -> Array:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))


def brightness(frame: Array, strength: float) -> Array:
    return _blend(frame, 0, strength)


def contrast(frame: Array, strength: float) -> Array:
    return _blend(frame, round(float(_grey(frame).mean())), strength)


def colour(frame: Array, strength: float) -> Array:
    return _blend(frame, _grey(frame)[..., None], strength)


def sharpness(frame: Array, strength: float) -> Array:
    smooth = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    return _blend(frame, np.asarray(cv2.filter2D(frame, -1, smooth)), strength)


def auto_contrast(frame: Array, strength: float) -> Array:
    """Stretch each channel to the full range."""
    low, high = frame.min(axis=(0, 1)), frame.max(axis=(0, 1))
    span = np.maximum(high.astype(np.float32) - low, 1)
    table = _table((LEVELS[:, None] - low) * (255 / span))
    table = np.where(high > low, table, LEVELS[:, None]).astype(np.uint8)
    return np.asarray(cv2.LUT(frame, table[None]))


def equalize(frame: Array, strength: float) -> Array:
    """Flatten the histogram of each channel."""
    return np.dstack([cv2.equalizeHist(np.ascontiguousarray(frame[..., c])) for c in range(frame.shape[-1])])


def invert(frame: Array, strength: float) -> Array:
    return 255 - frame


def posterize(frame: Array, strength: float) -> Array:
    """Keep 8 bits (strength 0) to 4 bits (1)."""
    keep = 8 - int(4 * strength)
    return np.asarray(frame & np.uint8(256 - (1 << (8 - keep))))


def solarize(frame: Array, strength: float) -> Array:
    """Invert the levels from 256 (strength 0) or 0 (1) upwards."""
    return np.where(frame >= 256 * (1 - strength), 255 - frame, frame)


def _warp(frame: Array, matrix: list[list[float]]) -> Array:
    size = (frame.shape[1], frame.shape[0])
    return np.asarray(cv2.warpAffine(frame, np.array(matrix), size, borderValue=(128, 128, 128)))


def rotate(frame: Array, strength: float) -> Array:
    """Rotate by up to 30 degrees."""
    centre = ((frame.shape[1] - 1) / 2, (frame.shape[0] - 1) / 2)
    return _warp(frame, cv2.getRotationMatrix2D(centre, 30 * strength, 1).tolist())


def shear_x(frame: Array, strength: float) -> Array:
    return _warp(frame, [[1, 0.3 * strength, 0], [0, 1, 0]])


def shear_y(frame: Array, strength: float) -> Array:
    return _warp(frame, [[1, 0, 0], [0.3 * strength, 1, 0]])


def translate_x(frame: Array, strength: float) -> Array:
    """Shift by up to 0.45 of the width."""
    return _warp(frame, [[1, 0, 0.45 * strength * frame.shape[1]], [0, 1, 0]])


def translate_y(frame: Array, strength: float) -> Array:
    return _warp(frame, [[1, 0, 0], [0, 1, 0.45 * strength * frame.shape[0]]])


SIGNED: tuple[Operation, ...] = (
    brightness, contrast, colour, sharpness, rotate, shear_x, shear_y, translate_x, translate_y,
)  # fmt: skip
UNSIGNED: tuple[Operation, ...] = (auto_contrast, equalize, invert, posterize, solarize)
OPERATIONS: tuple[Operation, ...] = SIGNED + UNSIGNED


@frozen
class RandAugment:
    """Apply ``num_layers`` random changes of colour or shape, each with probability ``prob``, equally to all frames.

    ``magnitude`` (0 to 10) is the strength, ``magnitude_std`` the standard deviation of a normal
    distribution around it. Changes with a direction have a random sign. Ranges at strength 10:
    rotation 30 degrees, shear 0.3, shift 0.45 of the side, 4 bits, colours and sharpness by a
    factor of 0.1 or 1.9. Pixels from outside of the frame are grey.
    """

    magnitude: float = field(default=9, validator=in_range(0, 10))
    num_layers: int = field(default=2, validator=at_least(1))
    prob: float = field(default=0.5, validator=in_range(0, 1))
    magnitude_std: float = field(default=0.5, validator=at_least(0))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for name, record in sample.records():
            if record.follows_crops:
                raise UserError(f"RandAugment cannot move {name} with the frames")
        sample = realize(sample)
        assert sample.frames is not None
        if sample.frames.shape[-1] != 3:
            raise UserError(f"RandAugment needs frames with 3 channels, got {sample.frames.shape[-1]}")
        frames = sample.frames
        for _ in range(self.num_layers):
            operation = OPERATIONS[rng.integers(len(OPERATIONS))]
            strength = float(np.clip(rng.normal(self.magnitude, self.magnitude_std), 0, 10)) / 10
            sign = 1 if operation in UNSIGNED or rng.random() < 0.5 else -1
            if rng.random() < self.prob:
                frames = np.stack([operation(frame, sign * strength) for frame in frames])
        return sample.replace(frames=frames)
