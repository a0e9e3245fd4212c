"""Resize, RandomRescale, RandomScale, Fuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from attrs import Attribute, field, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.transforms.geometry import current, resize
from vidcore.transforms.pixels import INTERPOLATIONS, realize
from vidcore.validators import ascending_pair, fail, one_of

__all__ = ["Fuse", "RandomRescale", "RandomScale", "Resize", "scaled_size"]

Interpolation = Literal["nearest", "bilinear", "bicubic", "area", "lanczos"]


def scaled_size(size: tuple[int, int], scale: float | tuple[int, int]) -> tuple[int, int]:
    """Return (height, width) of a frame of ``size`` after scaling that keeps its aspect ratio.

    A number is the factor; a pair limits the long side to its larger and the short side to its
    smaller number, where -1 means no limit.

    >>> scaled_size((240, 320), (-1, 256)), scaled_size((240, 320), (171, 128)), scaled_size((240, 320), 0.5)
    ((256, 341), (128, 171), (120, 160))
    """
    height, width = size
    if isinstance(scale, (int, float)):
        factor = float(scale)
    else:
        short, long = sorted(np.inf if side == -1 else side for side in scale)
        factor = min(long / max(size), short / min(size))
    return max(int(height * factor + 0.5), 1), max(int(width * factor + 0.5), 1)


def _check_scale(instance: object, attribute: Attribute[Any], value: Any) -> None:
    if isinstance(value, (int, float)):
        wrong = value <= 0
    else:
        wrong = len(value) != 2 or any(side < 1 and side != -1 for side in value) or all(side == -1 for side in value)
    if wrong:
        fail(instance, attribute, value, "a positive factor or a pair of sides, one of which may be -1")


def _one_window(sample: Sample) -> Sample:
    """Make the frames if there are several crops of a clip, which must happen before a resize."""
    return realize(sample) if len(current(sample).windows) > 1 else sample


@frozen
class Resize:
    """Scale frames, and their boxes and joints.

    ``scale`` with ``keep_ratio``: ``(-1, 256)`` makes the short side 256, ``(340, 256)`` gives the
    largest size whose long side is at most 340 and short side at most 256, a number is a factor.
    Without ``keep_ratio``: exactly (width, height).
    """

    scale: float | tuple[int, int] = field(validator=_check_scale)
    keep_ratio: bool = True
    interpolation: Interpolation = field(default="bilinear", validator=one_of(*INTERPOLATIONS))
    """How pixels are computed."""

    def __attrs_post_init__(self) -> None:
        if not self.keep_ratio and (isinstance(self.scale, (int, float)) or -1 in self.scale):
            raise UserError(f"Resize: without keep_ratio, scale must be (width, height), got {self.scale!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if self.keep_ratio:
            size = scaled_size(current(sample).size, self.scale)
        else:
            assert isinstance(self.scale, tuple)
            size = (self.scale[1], self.scale[0])
        return resize(_one_window(sample), size, self.interpolation)


@frozen
class RandomRescale:
    """Scale frames so that the short side is a random number of pixels in ``scale_range``, ends included."""

    scale_range: tuple[int, int] = field(validator=ascending_pair(1))
    interpolation: Interpolation = field(default="bilinear", validator=one_of(*INTERPOLATIONS))
    """How pixels are computed."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        short = int(rng.integers(self.scale_range[0], self.scale_range[1] + 1))
        return resize(_one_window(sample), scaled_size(current(sample).size, (-1, short)), self.interpolation)


def _check_scales(instance: object, attribute: Attribute[Any], value: Any) -> None:
    if not value or any(len(pair) != 2 or min(pair) < 1 for pair in value):
        fail(instance, attribute, value, "a list of pairs of sides, in pixels")


@frozen
class RandomScale:
    """Scale frames to a random size that keeps their aspect ratio, as ``Resize`` with a pair of sides does.

    ``range`` draws the limit of the long side between the smallest and largest long side of ``scales``, and that of the
    short side in the same way; ``value`` draws one of ``scales``.
    """

    scales: Sequence[tuple[int, int]] = field(validator=_check_scales)
    """Pairs of sides, in pixels."""
    mode: Literal["range", "value"] = field(default="range", validator=one_of("range", "value"))
    """Which of the two."""
    interpolation: Interpolation = field(default="bilinear", validator=one_of(*INTERPOLATIONS))
    """How pixels are computed."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        pairs = np.sort(np.asarray(self.scales), axis=1)
        if self.mode == "range":
            short, long = rng.integers(pairs.min(axis=0), pairs.max(axis=0) + 1).tolist()
        else:
            short, long = pairs[rng.integers(len(pairs))].tolist()
        return resize(_one_window(sample), scaled_size(current(sample).size, (long, short)), self.interpolation)


@frozen
class Fuse:
    """Apply pending geometry now: steps before it are combined, steps after it start from its result."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return realize(sample)
