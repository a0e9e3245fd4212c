"""What resizes, crops and flips have asked for, recorded until a step needs the pixels.

What is recorded is at most: a region of the stored frames, scaled to one size, of which one or more windows are cut,
each perhaps mirrored. ``vidcore.transforms.geometry`` applies it to a sample, ``vidcore.transforms.pixels`` makes
the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import evolve, frozen

__all__ = ["Box", "Geometry"]

Array = np.ndarray[Any, np.dtype[Any]]
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom are the first outside."""


@frozen(eq=False, repr=False, kw_only=True)
class Geometry:
    """How the frames that the next step sees come out of those in ``Sample.frames``."""

    source: tuple[int, int]
    """Height and width of the stored frames."""
    region: tuple[float, float, float, float]
    """Left, top, right, bottom of the used part of the stored frames, in pixels."""
    scaled: tuple[int, int]
    """Height and width to which the region is resized."""
    size: tuple[int, int]
    """Height and width of the windows: of the frames that the next step sees."""
    windows: tuple[tuple[int, int, bool], ...] = ((0, 0, False),)
    """Left and top of each window in the scaled region, and whether it is mirrored."""
    upside_down: bool = False
    """Whether all windows are flipped vertically."""
    invert_flow: bool = True
    """Whether mirroring negates horizontal flow (255 - value)."""
    interpolation: str = "bilinear"
    """Key of ``vidcore.transforms.pixels.INTERPOLATIONS``."""
    order: Array | None = None
    """(num_clips * clip_len,) position in ``Sample.frames`` of each frame; None: as they are."""
    scale_factor: tuple[float, float] = (1.0, 1.0)
    """Horizontal and vertical factor of all resizes together."""
    crop_quadruple: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """x, y, width, height of all crops together, relative to the decoded frame."""

    @classmethod
    def whole(cls, size: tuple[int, int], order: Array | None = None) -> Geometry:
        """Nothing pending: frames of that height and width."""
        height, width = size
        return cls(source=size, region=(0.0, 0.0, width, height), scaled=size, size=size, order=order)

    def __repr__(self) -> str:
        return f"Geometry({self.source} -> {self.size})"

    @property
    def pending(self) -> bool:
        """Whether the stored frames differ from those that the next step sees."""
        return not (
            self.order is None
            and self.source == self.scaled == self.size
            and self.region == (0.0, 0.0, self.source[1], self.source[0])
            and self.windows == ((0, 0, False),)
            and not self.upside_down
        )

    def done(self) -> Geometry:
        """The same history for frames that have been made."""
        record = Geometry.whole(self.size)
        return evolve(record, scale_factor=self.scale_factor, crop_quadruple=self.crop_quadruple)

    def resized(self, size: tuple[int, int], interpolation: str) -> Geometry:
        """This, then its one window scaled to (height, width)."""
        assert len(self.windows) == 1, "several windows are made into frames before a resize"
        (left, top, mirrored), (height, width) = self.windows[0], self.size
        across = (self.region[2] - self.region[0]) / self.scaled[1]
        down = (self.region[3] - self.region[1]) / self.scaled[0]
        x, y = self.region[0] + left * across, self.region[1] + top * down
        return evolve(
            self,
            region=(x, y, x + width * across, y + height * down),
            scaled=size,
            size=size,
            windows=((0, 0, mirrored),),
            interpolation=interpolation,
            scale_factor=(self.scale_factor[0] * size[1] / width, self.scale_factor[1] * size[0] / height),
        )

    def cropped(self, boxes: Sequence[Box], mirrored: Sequence[bool]) -> Geometry:
        """This, then every box cut out of every window, and mirrored where that says so."""
        height, width = self.size
        windows = []
        for (left, top, right, bottom), mirror in zip(boxes, mirrored, strict=True):
            for x, y, was_mirrored in self.windows:
                x += width - right if was_mirrored else left
                y += height - bottom if self.upside_down else top
                windows.append((x, y, was_mirrored != mirror))
        (left, top, right, bottom), (x0, y0, w0, h0) = boxes[0], self.crop_quadruple
        quadruple = (
            x0 + left / width * w0,
            y0 + top / height * h0,
            (right - left) / width * w0,
            (bottom - top) / height * h0,
        )
        return evolve(
            self,
            windows=tuple(windows),
            size=(bottom - top, right - left),
            crop_quadruple=quadruple if len(boxes) == 1 else self.crop_quadruple,
        )
