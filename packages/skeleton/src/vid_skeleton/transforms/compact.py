"""PoseCompact: the part of the picture in which people are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import evolve, field, frozen

from vid_skeleton.missing import joints_of
from vidcore.errors import UserError
from vidcore.geometry import Box, Geometry
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.typing import Array
from vidcore.validators import at_least

__all__ = ["CompactBox", "PoseCompact", "compacted", "ratio_pair"]


def ratio_pair(value: float | Sequence[float] | None) -> tuple[float, float] | None:
    """Return the smallest and largest height / width."""
    if value is None:
        return None
    pair = (value, value) if isinstance(value, int | float) else tuple(value)
    if len(pair) != 2 or min(pair) <= 0:
        raise UserError(f"hw_ratio must be a positive number or a pair of them, got {value!r}")
    return pair[0], pair[1]


@frozen
class CompactBox:
    """How to choose the box around all people."""

    padding: float = field(default=0.25, validator=at_least(0))
    """Share of its width and height by which the tightest box is widened."""
    threshold: int = field(default=10, validator=at_least(0))
    """Boxes below this width or height, in pixels, are not used."""
    hw_ratio: float | Sequence[float] | None = field(default=None, converter=ratio_pair)
    """Smallest and largest height / width, or one number for both; the box grows."""
    allow_imgpad: bool = True
    """Whether the box may reach beyond the picture."""

    def box(self, points: Array, size: tuple[int, int]) -> Box | None:
        """Return the box around the joints that were found, None if it is below the threshold.

        Args:
            points: (..., 2 or 3) float; coordinates that are 0 or not a number count as missing.
            size: height and width of the picture.
        """
        ranges = []
        for axis in (0, 1):
            values = points[..., axis]
            values = values[(values != 0) & np.isfinite(values)]
            if not values.size:
                return None
            low, high = values.min(), values.max()
            if high - low < self.threshold:
                return None
            ranges.append(((low + high) / 2, (high - low) / 2 * (1 + self.padding)))
        (x, half_width), (y, half_height) = ranges
        if self.hw_ratio is not None:
            smallest, largest = self.hw_ratio  # type: ignore[misc]
            half_height = max(smallest * half_width, half_height)
            half_width = max(half_height / largest, half_width)
        left, top, right, bottom = x - half_width, y - half_height, x + half_width, y + half_height
        if not self.allow_imgpad:
            left, top, right, bottom = max(0, left), max(0, top), min(size[1], right), min(size[0], bottom)
        return int(left), int(top), int(right), int(bottom)


@frozen
class PoseCompact(CompactBox):
    """Crop skeletons without frames to the box around all people; missing joints stay missing."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.frames is not None:
            raise UserError("PoseCompact: the sample has frames, which it does not crop: use MMCompact")
        return compacted(self, sample)[0]


def compacted(step: CompactBox, sample: Sample) -> tuple[Sample, Box | None]:
    """Return the sample with joints and geometry cut to the box around all people, and the box; frames stay."""
    joints, geometry = joints_of(sample, step), current(sample)
    points = np.nan_to_num(joints.points, nan=0.0, posinf=np.inf, neginf=-np.inf)
    box = step.box(points, geometry.size)
    if box is not None:
        xy = points[..., :2]
        np.subtract(xy, np.array(box[:2], points.dtype), out=xy, where=xy != 0)
        geometry = _cut(geometry, box)
    return sample.replace(joints=evolve(joints, points=points), geometry=geometry), box


def _cut(geometry: Geometry, box: Box) -> Geometry:
    """Return the geometry of frames cut to a box, which may reach beyond them."""
    (left, top, right, bottom), (height, width) = box, geometry.size
    (a, b), (c, d) = geometry.done().back
    x, y, w, h = geometry.crop_quadruple
    return evolve(
        Geometry.whole((bottom - top, right - left)),
        scale_factor=geometry.scale_factor,
        crop_quadruple=(
            x + left / width * w,
            y + top / height * h,
            (right - left) / width * w,
            (bottom - top) / height * h,
        ),
        back=((a, b + a * left), (c, d + c * top)),
    )
