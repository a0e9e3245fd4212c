"""Crops: random, central, at fixed positions."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import evolve, field, frozen

from vidcore.errors import UserError
from vidcore.geometry import Box
from vidcore.protocols import SeveralViews
from vidcore.sample import Sample
from vidcore.transforms.geometry import crop, current
from vidcore.validators import ascending_pair, at_least, one_of, pair_of_sizes

__all__ = [
    "CenterCrop",
    "MultiGroupCrop",
    "MultiScaleCrop",
    "RandomCrop",
    "RandomResizedCrop",
    "TenCrop",
    "ThreeCrop",
    "centre_box",
    "five_boxes",
    "multi_scale_sizes",
    "random_area_box",
    "three_boxes",
]

Size = int | tuple[int, int]


def _sides(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def centre_box(frame: tuple[int, int], crop_size: tuple[int, int]) -> Box:
    """Return the box of (width, height) ``crop_size`` in the middle of a (height, width) frame."""
    (height, width), (w, h) = frame, crop_size
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def three_boxes(frame: tuple[int, int], crop_size: tuple[int, int]) -> list[Box]:
    """Return the boxes at the start, end and middle of the side that the crop does not fill."""
    (height, width), (w, h) = frame, crop_size
    if w > width or h > height or (w != width and h != height):
        raise UserError(
            f"ThreeCrop: a {w} x {h} crop must have one side of the frames, {width} x {height} (width x height)"
        )
    x, y = ((width - w) // 2, 0) if h == height else (0, (height - h) // 2)
    return [(left, top, left + w, top + h) for left, top in ((0, 0), (2 * x, 2 * y), (x, y))]


def five_boxes(frame: tuple[int, int], crop_size: tuple[int, int], more: bool = False) -> list[Box]:
    """Return the boxes in the corners and in the middle; with ``more`` also the eight between them.

    Positions are multiples of a quarter of the free space, rounded down, so the last ones can miss the
    edge by up to three pixels, as in the published scores of ten-crop tests.
    """
    (height, width), (w, h) = frame, crop_size
    x, y = (width - w) // 4, (height - h) // 4
    places = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
    if more:
        places += [(0, 2), (4, 2), (2, 4), (2, 0), (1, 1), (3, 1), (1, 3), (3, 3)]
    return [(i * x, j * y, i * x + w, j * y + h) for i, j in places]


def random_area_box(
    frame: tuple[int, int],
    area_range: tuple[float, float],
    aspect_ratio_range: tuple[float, float],
    rng: np.random.Generator,
) -> Box:
    """Draw a box by its fraction of the area (uniform) and width / height (log-uniform).

    If none of ten draws fits into the frame, return the largest square in the middle
    (Szegedy et al., Going Deeper with Convolutions, section 6).
    """
    height, width = frame
    for _ in range(10):
        area = rng.uniform(*area_range) * height * width
        aspect = np.exp(rng.uniform(*np.log(aspect_ratio_range)))
        w, h = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
            return left, top, left + w, top + h
    side = min(height, width)
    return centre_box(frame, (side, side))


def multi_scale_sizes(
    frame: tuple[int, int], input_size: tuple[int, int], scales: tuple[float, ...], max_wh_scale_gap: int
) -> list[tuple[int, int]]:
    """Return the sizes (width, height) of MultiScaleCrop; sides within two pixels of the input size are set to it."""
    base = min(frame)
    lengths = [int(base * s) for s in scales]
    widths = [input_size[0] if abs(n - input_size[0]) < 3 else n for n in lengths]
    heights = [input_size[1] if abs(n - input_size[1]) < 3 else n for n in lengths]
    return [(w, h) for i, h in enumerate(heights) for j, w in enumerate(widths) if abs(i - j) <= max_wh_scale_gap]


@frozen
class RandomCrop:
    """Cut a square of side ``size`` at a random position.

    ``compat``: as published, never at the last position of a row or column.
    """

    size: int = field(validator=at_least(1))
    compat: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = current(sample).size
        left, top = (_draw_offset(side - self.size, self.compat, rng) for side in (width, height))
        return crop(sample, [(left, top, left + self.size, top + self.size)])


def _draw_offset(free: int, compat: bool, rng: np.random.Generator) -> int:
    return int(rng.integers(free + (not compat))) if free > 0 else 0


@frozen
class RandomResizedCrop:
    """Cut a random box by area and aspect ratio; see ``random_area_box``. A ``Resize`` must follow."""

    area_range: tuple[float, float] = field(default=(0.08, 1.0), validator=ascending_pair(0, 1))
    """Smallest and largest share of the area of the frame."""
    aspect_ratio_range: tuple[float, float] = field(default=(3 / 4, 4 / 3), validator=ascending_pair(1e-6))
    """Smallest and largest width divided by height."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return crop(sample, [random_area_box(current(sample).size, self.area_range, self.aspect_ratio_range, rng)])


@frozen
class MultiScaleCrop:
    """Cut a box whose sides are random ``scales`` of the short side of the frame (Wang et al., TSN).

    ``max_wh_scale_gap`` is the largest distance between width and height in ``scales``. The position is
    random, or one of 5 (corners and centre) or 13. A ``Resize`` to ``input_size`` must follow.
    """

    input_size: int | tuple[int, int] = field(validator=pair_of_sizes)
    scales: tuple[float, ...] = field(default=(1.0,), converter=tuple)
    max_wh_scale_gap: int = field(default=1, validator=at_least(0))
    random_crop: bool = False
    """Draw any position, instead of one of ``num_fixed_crops``."""
    num_fixed_crops: Literal[5, 13] = field(default=5, validator=one_of(5, 13))
    """5: corners and centre; 13: also positions between them."""

    def __attrs_post_init__(self) -> None:
        if not self.scales or not all(0 < s <= 1 for s in self.scales):
            raise UserError(f"MultiScaleCrop: scales must be numbers above 0 and at most 1, got {self.scales!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        frame = current(sample).size
        sizes = multi_scale_sizes(frame, _sides(self.input_size), self.scales, self.max_wh_scale_gap)
        w, h = sizes[rng.integers(len(sizes))]
        if self.random_crop:
            left, top = int(rng.integers(frame[1] - w + 1)), int(rng.integers(frame[0] - h + 1))
            return crop(sample, [(left, top, left + w, top + h)])
        boxes = five_boxes(frame, (w, h), more=self.num_fixed_crops == 13)
        return crop(sample, [boxes[rng.integers(len(boxes))]])


@frozen
class CenterCrop:
    """Cut the centre: a square, or (width, height)."""

    crop_size: int | tuple[int, int] = field(validator=pair_of_sizes)
    """Side of the square, or (width, height), in pixels."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return crop(sample, [centre_box(current(sample).size, _sides(self.crop_size))])


@frozen
class ThreeCrop(SeveralViews):
    """Cut three crops of every clip along the longer side: start, end, middle. They fill the shorter side."""

    crop_size: int | tuple[int, int] = field(validator=pair_of_sizes)
    """Side of a square, or (width, height), in pixels."""

    @property
    def views(self) -> tuple[int, int]:
        """One clip, and the number of crops."""
        return 1, 3

    def one_view(self, clips: bool) -> CenterCrop:
        """Return a step that cuts the centre only."""
        return CenterCrop(self.crop_size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return crop(sample, three_boxes(current(sample).size, _sides(self.crop_size)))


@frozen
class MultiGroupCrop(SeveralViews):
    """Cut ``groups`` crops of every clip at random positions, the same in all its frames."""

    crop_size: int | tuple[int, int] = field(validator=pair_of_sizes)
    """Side of a square, or (width, height), in pixels."""
    groups: int = field(validator=at_least(1))

    @property
    def views(self) -> tuple[int, int]:
        """One clip, and the number of crops."""
        return 1, self.groups

    def one_view(self, clips: bool) -> CenterCrop:
        """Return a step that cuts the centre only."""
        return CenterCrop(self.crop_size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        (height, width), (w, h) = current(sample).size, _sides(self.crop_size)
        lefts, tops = (rng.integers(max(free, 0) + 1, size=self.groups).tolist() for free in (width - w, height - h))
        return crop(sample, [(x, y, x + w, y + h) for x, y in zip(lefts, tops, strict=True)])


@frozen
class TenCrop(SeveralViews):
    """Cut the corners and the centre of every clip, each followed by its mirror image.

    ``compat``: as published, mirrored horizontal flow keeps its sign.
    """

    crop_size: int | tuple[int, int] = field(validator=pair_of_sizes)
    """Side of a square, or (width, height), in pixels."""
    compat: bool = False

    @property
    def views(self) -> tuple[int, int]:
        """One clip, and the number of crops."""
        return 1, 10

    def one_view(self, clips: bool) -> CenterCrop:
        """Return a step that cuts the centre only."""
        return CenterCrop(self.crop_size)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        boxes = five_boxes(current(sample).size, _sides(self.crop_size))
        sample = crop(sample, [b for b in boxes for _ in range(2)], [False, True] * 5)
        assert sample.geometry is not None
        return sample.replace(geometry=evolve(sample.geometry, invert_flow=not self.compat))
