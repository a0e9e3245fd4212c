"""RandomErasing (Zhong et al., Random Erasing Data Augmentation)."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.transforms.pixels import realize
from vidcore.typing import Array
from vidcore.validators import ascending_pair, in_range, one_of

__all__ = ["RandomErasing", "erase", "erased_box"]


def erased_box(
    frame: tuple[int, int],
    area_range: tuple[float, float],
    aspect_range: tuple[float, float],
    rng: np.random.Generator,
    compat: bool = False,
) -> tuple[int, int, int, int]:
    """Draw top, left, height, width of a box by its fraction of the area and height / width (log-uniform).

    Sides are limited to those of the frame. ``compat``: as published, shorter ones never reach the
    bottom or right edge.
    """
    area = rng.uniform(*area_range) * frame[0] * frame[1]
    aspect = np.exp(rng.uniform(*np.log(aspect_range)))
    height, width = min(round(np.sqrt(area * aspect)), frame[0]), min(round(np.sqrt(area / aspect)), frame[1])
    rooms = (frame[0] - height, frame[1] - width)
    top, left = (int(rng.integers(room + (not compat))) if room else 0 for room in rooms)
    return top, left, height, width


def erase(frames: Array, box: tuple[int, int, int, int], fill: int | Array) -> Array:
    """Return a copy of the frames (n, height, width, channels) with a box (top, left, height, width) filled.

    ``fill`` is one level, a colour, or pixels (n, height, width, channels).
    """
    top, left, height, width = box
    out = frames.copy()
    out[:, top : top + height, left : left + width] = fill
    return out


@frozen
class RandomErasing:
    """With probability ``erase_prob``, replace a random box, the same in all frames of the sample.

    ``mode="const"`` fills it with ``fill_color`` (one level or RGB). ``mode="rand"`` fills it
    with noise, new in every frame: normal with mean ``fill_color`` and standard deviation
    ``fill_std`` (clipped); default: uniform over all levels.
    """

    erase_prob: float = field(default=0.5, validator=in_range(0, 1))
    min_area_ratio: float = field(default=0.02, validator=in_range(0, 1))
    """Smallest share of the area of the frame."""
    max_area_ratio: float = field(default=1 / 3, validator=in_range(0, 1))
    """Largest share of the area of the frame."""
    aspect_range: tuple[float, float] = field(default=(3 / 10, 10 / 3), validator=ascending_pair(1e-6))
    """Smallest and largest aspect ratio of the box."""
    mode: Literal["const", "rand"] = field(default="const", validator=one_of("const", "rand"))
    fill_color: int | tuple[int, int, int] = (128, 128, 128)
    fill_std: float | tuple[float, float, float] | None = None
    compat: bool = False
    """As published, never at the last row or column."""

    def __attrs_post_init__(self) -> None:
        if self.min_area_ratio > self.max_area_ratio:
            raise UserError(
                f"RandomErasing: min_area_ratio {self.min_area_ratio} is above max_area_ratio {self.max_area_ratio}"
            )

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.erase_prob:
            return sample
        box = erased_box(
            current(sample).size, (self.min_area_ratio, self.max_area_ratio), self.aspect_range, rng, self.compat
        )
        sample = realize(sample)
        assert sample.frames is not None
        shape = (len(sample.frames), *box[2:], sample.frames.shape[-1])
        return sample.replace(frames=erase(sample.frames, box, self.fill(shape, rng)))

    def fill(self, shape: tuple[int, int, int, int], rng: np.random.Generator) -> Array:
        """Return pixels that fill a box of that shape."""
        if self.mode == "const":
            return np.broadcast_to(np.asarray(self.fill_color, np.uint8), shape)
        if self.fill_std is None:
            return rng.integers(256, size=shape, dtype=np.uint8)
        noise = rng.normal(np.asarray(self.fill_color, float), np.asarray(self.fill_std, float), shape)
        return np.clip(noise, 0, 255).astype(np.uint8)
