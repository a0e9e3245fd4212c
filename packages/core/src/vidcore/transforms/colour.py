"""ColorJitter and its four changes, RandomGrayscale, PCALighting.

The functions take and return float32 frames (..., height, width, 3) in RGB, 0 to 255; values outside
of this range are clipped only at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from attrs import Attribute, field, frozen

from vidcore.sample import Sample
from vidcore.transforms.pixels import colour_frames
from vidcore.typing import Array
from vidcore.validators import at_least, fail, in_range

__all__ = [
    "ColorJitter",
    "PCALighting",
    "RandomGrayscale",
    "adjust_brightness",
    "adjust_contrast",
    "adjust_hue",
    "adjust_saturation",
    "grey",
    "jitter",
]

ORDER = ("brightness", "contrast", "saturation", "hue")


def grey(frames: Array) -> Array:
    """Return the luma (..., height, width), with the weights of ITU-R BT.601."""
    weighted: Array = frames @ np.array([0.2989, 0.587, 0.114], np.float32)
    return weighted


def adjust_brightness(frames: Array, factor: float) -> Array:
    """Multiply every level."""
    return np.asarray(frames * np.float32(factor))


def adjust_contrast(frames: Array, factor: float) -> Array:
    """Blend every frame with its mean grey (factor < 1), or extrapolate away from it."""
    mean = grey(frames).mean(axis=(-2, -1))[..., None, None, None]
    return np.asarray(np.float32(factor) * frames + np.float32(1 - factor) * mean)


def adjust_saturation(frames: Array, factor: float) -> Array:
    """Blend every pixel with its grey (factor < 1), or extrapolate away from it."""
    return np.asarray(np.float32(factor) * frames + np.float32(1 - factor) * grey(frames)[..., None])


def adjust_hue(frames: Array, offset: float) -> Array:
    """Rotate the hue by ``offset`` of a circle, in the 8-bit HSV of OpenCV.

    As published, with hue steps of 2 degrees and the offset scaled by 255 on their scale of 180.
    """
    if offset == 0:
        return frames  # avoids rounding to 8 bits
    turned = np.clip(frames, 0, 255).astype(np.uint8).reshape(-1, *frames.shape[-3:])
    for frame in turned:
        hsv = cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(np.int64) + int(255 * offset)) % 180
        cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=frame)
    return turned.reshape(frames.shape).astype(np.float32)


def jitter(frames: Array, order: tuple[int, ...], values: tuple[float, float, float, float]) -> Array:
    """Apply brightness, contrast, saturation and hue (numbers 0 to 3) with their ``values``, in that order.

    Takes and returns uint8 frames (n, height, width, 3).
    """
    steps = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)
    out = np.empty_like(frames)
    for source, target in zip(frames, out, strict=True):  # one frame at a time stays in the cache
        frame = source.astype(np.float32)
        for k in order:
            frame = steps[k](frame, values[k])
        target[...] = np.clip(frame, 0, 255)
    return out


@frozen
class ColorJitter:
    """Change brightness, contrast, saturation and hue at random, equally in all frames of a sample.

    Factors are drawn from [max(0, 1 - x), 1 + x], the hue offset from [-hue, hue] (fraction of
    the circle), and the order of the four changes at random. (Published code drew the order
    once, when it was built.)
    """

    brightness: float = field(default=0.5, validator=at_least(0))
    contrast: float = field(default=0.5, validator=at_least(0))
    saturation: float = field(default=0.5, validator=at_least(0))
    hue: float = field(default=0.1, validator=in_range(0, 0.5))

    @property
    def ranges(self) -> dict[str, tuple[float, float]]:
        """Smallest and largest value of each change."""
        factors = {name: getattr(self, name) for name in ORDER[:3]}
        return {name: (max(0.0, 1 - x), 1 + x) for name, x in factors.items()} | {"hue": (-self.hue, self.hue)}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample, frames = colour_frames(sample, "ColorJitter")
        order = tuple(rng.permutation(4))
        brightness, contrast, saturation, hue = (float(rng.uniform(*limits)) for limits in self.ranges.values())
        return sample.replace(frames=jitter(frames, order, (brightness, contrast, saturation, hue)))


@frozen
class RandomGrayscale:
    """With probability ``p``, replace the colours of all frames by their luma."""

    p: float = field(default=0.1, validator=in_range(0, 1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.p:
            return sample
        sample, frames = colour_frames(sample, "RandomGrayscale")
        luma = grey(frames).astype(np.uint8)
        return sample.replace(frames=np.repeat(luma[..., None], 3, axis=-1))


def _three_rows(instance: object, attribute: Attribute[Any], value: Any) -> None:
    if np.shape(value) != (3, 3):
        fail(instance, attribute, value, "3 rows of 3 numbers")


def _three(instance: object, attribute: Attribute[Any], value: Any) -> None:
    if np.shape(value) != (3,):
        fail(instance, attribute, value, "3 numbers")


@frozen
class PCALighting:
    """Add noise along the principal components of colours, the same to all pixels of a sample.

    Krizhevsky et al., ImageNet classification with deep convolutional neural networks, section 4.1. The noise of each
    component is normal with standard deviation ``alpha_std`` times its eigenvalue. Defaults: those of ImageNet.
    """

    alpha_std: float = field(default=0.1, validator=at_least(0))
    eig_val: Sequence[float] = field(default=(55.46, 4.794, 1.148), validator=_three)
    """Eigenvalues, in levels."""
    eig_vec: Sequence[Sequence[float]] = field(
        default=((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.814), (-0.5836, -0.6948, 0.4203)),
        validator=_three_rows,
    )
    """Eigenvectors as columns; rows are red, green, blue."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        sample, frames = colour_frames(sample, "PCALighting")
        alpha = rng.normal(0, self.alpha_std, 3)
        shift = np.asarray(self.eig_vec) @ (alpha * np.asarray(self.eig_val))
        table = np.clip(np.round(np.arange(256)[:, None] + shift), 0, 255).astype(np.uint8)
        return sample.replace(frames=np.stack([cv2.LUT(frame, table[None]) for frame in frames]))
