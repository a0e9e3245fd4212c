"""Resizes, crops and flips, recorded until a step needs the pixels.

A record is at most: a region of the stored frames, scaled to one size, from which one or more windows are cut, each
perhaps mirrored. ``vidcore.transforms.geometry`` changes it, ``vidcore.transforms.pixels`` makes the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import evolve, frozen

from vidcore.errors import UserError
from vidcore.typing import Array

__all__ = ["Box", "Geometry"]

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels; right and bottom are the first outside."""
Line = tuple[float, float]
"""(a, b): a coordinate v becomes ``a * v + b``."""


@frozen(eq=False, repr=False, kw_only=True)
class Geometry:
    """How to make the frames that the next step sees from ``Sample.frames``."""

    source: tuple[int, int]
    """Height and width of the stored frames."""
    region: tuple[float, float, float, float]
    """Left, top, right, bottom of the used part of the stored frames, in pixels."""
    scaled: tuple[int, int]
    """Height and width to which the region is resized."""
    size: tuple[int, int]
    """Height and width of the windows, which are the frames that the next step sees."""
    windows: tuple[tuple[int, int, bool], ...] = ((0, 0, False),)
    """Left and top of each window in the scaled region, and whether it is mirrored."""
    upside_down: bool = False
    """Whether all windows are flipped vertically."""
    invert_flow: bool = True
    """Whether mirroring negates horizontal flow (255 - value)."""
    interpolation: str = "bilinear"
    """Key of ``vidcore.transforms.pixels.INTERPOLATIONS``."""
    order: Array | None = None
    """(num_clips * clip_len,) position in ``Sample.frames`` of each frame; None: in stored order."""
    scale_factor: tuple[float, float] = (1.0, 1.0)
    """Horizontal and vertical factor of all resizes together."""
    crop_quadruple: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    """x, y, width, height of all crops together, relative to the decoded frame."""

    back: tuple[Line, Line] = ((1.0, 0.0), (1.0, 0.0))
    """Map x and y of the stored frames to the decoded frames."""

    @classmethod
    def whole(cls, size: tuple[int, int], order: Array | None = None) -> Geometry:
        """Return a geometry with nothing pending, for frames of that height and width."""
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
        """Return the geometry of the frames after they have been made, with the same history."""
        record = Geometry.whole(self.size)
        return evolve(
            record, scale_factor=self.scale_factor, crop_quadruple=self.crop_quadruple, back=self._to_decoded()
        )

    def to_source(self, xyxy: Array) -> Array:
        """Return boxes (n, 4) of the current frames as boxes of the decoded frames: (n, 4) float64.

        Raises ``UserError`` if there are several crops of each frame, because a box belongs to one of them.
        """
        if len(self.windows) > 1:
            raise UserError(f"boxes of {len(self.windows)} crops of a clip cannot be told apart: predict on one crop")
        x, y = self._to_decoded()
        moved = np.asarray(xyxy, np.float64) * [x[0], y[0], x[0], y[0]] + [x[1], y[1], x[1], y[1]]
        first, second = moved[:, :2], moved[:, 2:]
        out: Array = np.concatenate((np.minimum(first, second), np.maximum(first, second)), 1)
        return out

    def relative(self, xyxy: Array) -> Array:
        """Return boxes (n, 4) of the current frames as fractions of the size of the decoded ones: (n, 4) float64.

        Raises ``UserError`` if there are several crops of each frame.
        """
        (across, _), (down, _) = self._to_decoded()
        *_, width, height = self.crop_quadruple
        whole = (self.size[1] * abs(across) / width, self.size[0] * abs(down) / height)
        out: Array = self.to_source(xyxy) / (whole * 2)
        return out

    def _to_decoded(self) -> tuple[Line, Line]:
        """Return ``back`` for the frames of the first window."""
        (left, top, mirrored), (height, width) = self.windows[0], self.size
        across = (self.region[2] - self.region[0]) / self.scaled[1]
        down = (self.region[3] - self.region[1]) / self.scaled[0]
        x = _line(self.region[0], left, across, width if mirrored else 0)
        y = _line(self.region[1], top, down, height if self.upside_down else 0)
        (a, b), (c, d) = self.back
        return (a * x[0], a * x[1] + b), (c * y[0], c * y[1] + d)

    def resized(self, size: tuple[int, int], interpolation: str) -> Geometry:
        """Return this geometry followed by a resize of its only window to (height, width)."""
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
        """Return this geometry followed by crops: every box is cut from every window, and mirrored if ``mirrored``."""
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


def _line(start: float, offset: int, step: float, mirrored_from: int) -> Line:
    """Return the map from a coordinate of a window to the stored frames."""
    if mirrored_from:
        return -step, start + (offset + mirrored_from) * step
    return step, start + offset * step
