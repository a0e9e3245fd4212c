"""Drawers, which draw predictions on the frames of a video, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from vidcore.geometry import Box
from vidcore.sample import Sample
from vidcore.tools.draw import rgb
from vidcore.tools.lettering import Typeface, first_free, place_labels
from vidcore.typing import Array

__all__ = ["Canvas", "Drawer", "Layer"]

SMALLEST_TEXT, LETTERS_PER_SIDE = 12, 30
"""Pixels of the smallest letters; larger frames have this many lines of text on their shorter side."""


class Drawer(ABC):
    """Base class of drawers: each draws one kind of prediction on the frames of a video.

    A drawer is made for each video that it can draw, and gets the frames of that video in order. Several drawers may
    draw on the same frames, by ``layer`` and then by name.

    Args:
        sample: the prediction. Coordinates are in pixels of the frames that ``draw`` gets.
        canvas: text, and the space that is still free.
        truth: the annotated sample, if it is known.
    """

    layer: ClassVar[int] = 0
    """Order of drawing: 0 marks places in the picture, 1 covers a part of it, 2 adds space around it."""

    @classmethod
    @abstractmethod
    def can_draw(cls, sample: Sample) -> bool:
        """Return whether the sample has predictions that this drawer draws."""

    @classmethod
    def texts(cls, sample: Sample) -> Iterable[str]:
        """Return the strings of a sample that will be written, beside class names: fonts are chosen for them."""
        return ()

    @abstractmethod
    def __init__(self, sample: Sample, canvas: Canvas, truth: Sample | None = None) -> None: ...

    @abstractmethod
    def draw(self, image: Array, time: float) -> Array:
        """Return a frame with the prediction: the same array, changed, or a larger one.

        Args:
            image: (height, width, 3) uint8 RGB, writable. Drawers before this one may have added space at the right
                and below, so that positions stay as they were.
            time: seconds since the first frame.
        """


class Canvas:
    """What the drawers of a video share.

    Args:
        size: height and width of the frames.
        texts: names that will be written.
        duration: seconds of the video, if known.
        top: number of classes to show.
        font: font file that takes precedence over installed fonts.

    Raises:
        UserError: the file is not a font.
    """

    def __init__(
        self,
        size: tuple[int, int],
        texts: Iterable[str] = (),
        duration: float | None = None,
        top: int = 5,
        font: Path | None = None,
    ) -> None:
        self.size, self.duration, self.top = size, duration, top
        self.typeface = Typeface(max(SMALLEST_TEXT, round(min(size) / LETTERS_PER_SIDE)), texts, font)
        self.margin = max(2, self.typeface.size // 4)
        """Pixels between a text and the edge of its background."""
        self._reserved: list[Box] = []
        self._taken: list[Box] = []

    def reserve(self, width: int, height: int) -> tuple[int, int] | None:
        """Keep an area free in every frame; return its left and top, or None if there is no space in a corner.

        Call it when a drawer is made, before any label is placed.
        """
        rows, columns = self.size
        corners = [
            (x, y) for y in (0, rows - height) for x in (0, columns - width) if height <= rows and width <= columns
        ]
        found = first_free(np.array(corners, np.int64).reshape(-1, 2), width, height, self._reserved)
        if found is None:
            return None
        left, top = found.tolist()
        self._reserved.append((left, top, left + width, top + height))
        return left, top

    def begin_frame(self) -> None:
        """Forget the labels of the frame before."""
        self._taken = [*self._reserved]

    def keep_free(self, box: Sequence[float]) -> None:
        """Place no label of this frame, which is yet to come, over an area: left, top, right, bottom in pixels."""
        left, top, right, bottom = (round(edge) for edge in box)
        self._taken.append((left, top, right, bottom))

    def find(self, box: Array, size: Sequence[int], avoid: Array | None = None) -> tuple[int, int] | None:
        """Return left and top of the best place for a label (width, height) of a box; None if there is no space.

        Boxes of ``avoid`` (n, 4) are not covered either.
        """
        taken = [*self._taken, *([] if avoid is None else map(tuple, avoid.round().astype(np.int64).tolist()))]
        left, top = place_labels(box[None], np.array([size]), self.size, taken)[0].tolist()
        return None if left < 0 else (left, top)

    def place(self, boxes: Array, sizes: Array) -> Array:
        """Return places for labels of boxes in this frame, as ``place_labels`` does, free of all earlier labels."""
        places = place_labels(boxes, sizes, self.size, self._taken)
        for (left, top), (width, height) in zip(places.tolist(), np.asarray(sizes).tolist(), strict=True):
            if left >= 0:
                self._taken.append((left, top, left + int(width), top + int(height)))
        return places


class Layer:
    """An area with colours and opacity that is put over frames: draw it once if all frames have the same.

    It is transparent at first.
    """

    def __init__(self, width: int, height: int) -> None:
        self._colour = np.zeros((height, width, 3), np.float32)  # times opacity
        self._through = np.ones((height, width, 1), np.float32)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self._colour.shape[0], self._colour.shape[1]

    def fill(self, colour: str, opacity: float = 1.0, box: Sequence[float] | None = None) -> None:
        """Fill an area (left, top, right, bottom; default: all) with a colour such as ``#0072b2``."""
        left, top, right, bottom = (max(0, round(edge)) for edge in box or (0, 0, *self._colour.shape[1::-1]))
        self._cover(np.s_[top:bottom, left:right], np.float32(opacity), colour)

    def write(self, left: int, top: int, text: str, typeface: Typeface, colour: str = "#ffffff") -> None:
        """Write lines of text; what extends beyond the layer is cut off."""
        for number, line in enumerate(text.split("\n")):
            first = top + number * typeface.height
            rows, columns = self._colour[max(first, 0) :, left:].shape[:2]
            mask = typeface.mask(line)[max(-first, 0) :][:rows, :columns, None]
            area = np.s_[max(first, 0) : max(first, 0) + mask.shape[0], left : left + mask.shape[1]]
            self._cover(area, mask, colour)

    def _cover(self, area: tuple[slice, slice], opacity: Array | np.float32, colour: str) -> None:
        self._colour[area] += (255 * rgb(colour).astype(np.float32) - self._colour[area]) * opacity
        self._through[area] *= 1 - opacity

    def over(self, image: Array, left: int = 0, top: int = 0) -> None:
        """Put the layer over a frame (height, width, 3) uint8, which must be at least as large."""
        height, width = self.size
        area = image[top : top + height, left : left + width]
        area[:] = (area * self._through + self._colour).round()

    def image(self) -> Array:
        """Return the layer on black: (height, width, 3) uint8."""
        return self._colour.round().astype(np.uint8)
