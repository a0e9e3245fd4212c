"""Text on frames: masks of letters, names that fit, and places for labels that do not overlap.

This module imports matplotlib, whose renderer draws the letters, so import it where frames are drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends import backend_agg
from matplotlib.font_manager import FontProperties

from vidcore.geometry import Box
from vidcore.tools.draw import choose_fonts, wrapped
from vidcore.typing import Array

__all__ = ["Typeface", "first_free", "place_labels", "shorten"]

RendererAgg: Any = backend_agg.RendererAgg  # has no type hints
ELLIPSIS = "…"
CACHED = 2000
"""Number of strings whose masks are kept; the labels of a video are the same in most frames."""


class Typeface:
    """Draws text of one size, with the fonts that have its characters.

    A warning lists the characters that no font has.

    Args:
        size: height of a letter in pixels.
        texts: all strings that will be drawn, except ASCII.
        font: font file that takes precedence over installed fonts.

    Raises:
        UserError: the file is not a font.
    """

    def __init__(self, size: int, texts: Iterable[str] = (), font: Path | None = None) -> None:
        self.size = size
        self.height = round(size * 1.35)
        """Height of a line in pixels."""
        families, self.letters = choose_fonts(texts, font)
        self._font = FontProperties(family=families, size=size)
        self._measuring = RendererAgg(1, 1, 72)
        self._advances: dict[str, float] = {}
        self._masks: dict[str, Array] = {}

    def width(self, text: str) -> int:
        """Return the width of a line in pixels: the sum of its characters, since measuring whole lines is slow."""
        for character in set(text) - self._advances.keys():
            many, one = self._measured(character * 9), self._measured(character)
            self._advances[character] = (many - one) / 8
        return math.ceil(sum(self._advances[character] for character in text)) + 1

    def mask(self, text: str) -> Array:
        """Return a line as (height, width) float32: how much of each pixel the letters cover, 0 to 1."""
        if text not in self._masks:
            if len(self._masks) >= CACHED:
                self._masks.clear()
            renderer = RendererAgg(self.width(text), self.height, 72)
            renderer.draw_text(renderer.new_gc(), 0, round(self.size * 1.02), text, self._font, 0)
            self._masks[text] = np.asarray(renderer.buffer_rgba(), np.float32)[..., 3] / 255
        return self._masks[text]

    def _measured(self, text: str) -> float:
        return float(self._measuring.get_text_width_height_descent(text, self._font, False)[0])

    def names(self, names: Sequence[str], width: int, lines: int = 1, shown: Sequence[int] | None = None) -> list[str]:
        """Return the names of classes as strings of at most ``lines`` lines (``\\n``) of ``width`` pixels.

        Longer names are shortened, and no two look alike; see ``shorten``.

        Args:
            names: of all classes.
            width: of a line in pixels.
            lines: maximum number of lines.
            shown: numbers of the classes to return; default: all.
        """

        def fits(name: str) -> bool:
            found = self._lines(name, width)
            return len(found) <= lines and all(self.width(line) <= width for line in found)

        whole = [self.letters.line(name, number) for number, name in enumerate(names)]
        return ["\n".join(self._lines(name, width)) for name in shorten(whole, fits, shown)]

    def _lines(self, name: str, width: int) -> list[str]:
        return [name] if self.width(name) <= width else wrapped(name, width, self.width)


def shorten(names: Sequence[str], fits: Callable[[str], bool], shown: Sequence[int] | None = None) -> list[str]:
    """Return names that fit: whole, or with an ellipsis in the middle, and then with their number if it is needed.

    It is needed if a different name has the same beginning and end.

    Args:
        names: all names that may be shown.
        fits: whether a string is short enough.
        shown: numbers of the names to return; default: all.

    >>> shorten(["open a door", "close a door", "run"], lambda name: len(name) <= 8)
    ['open…oor', 'close…or', 'run']
    >>> shorten(["step 1 of the dance", "step 2 of the dance"], lambda name: len(name) <= 9)
    ['0 step…ce', '1 step…ce']
    """
    return [_shortened(number, names, fits) for number in (range(len(names)) if shown is None else shown)]


def _shortened(number: int, names: Sequence[str], fits: Callable[[str], bool]) -> str:
    name = names[number]
    if fits(name):
        return name
    start, end = _ends("", name, fits)
    if any(other != name and other.startswith(start) and other.endswith(end) for other in names):
        prefix = f"{number} "
        start, end = _ends(prefix, name, fits)
        return f"{prefix}{start}{ELLIPSIS}{end}"
    return f"{start}{ELLIPSIS}{end}"


def _ends(prefix: str, name: str, fits: Callable[[str], bool]) -> tuple[str, str]:
    """Return the longest beginning and end of a name that fit after the prefix, with an ellipsis between them."""

    def ends(characters: int) -> tuple[str, str]:
        tail = characters * 2 // 5
        return name[: characters - tail].rstrip(), name[len(name) - tail :].lstrip()

    low, high = 0, len(name) - 1
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(prefix + ELLIPSIS.join(ends(middle))) else (low, middle - 1)
    return ends(low)


def place_labels(boxes: Array, sizes: Array, frame: tuple[int, int], taken: Sequence[Box] = ()) -> Array:
    """Return places for the labels of boxes, inside the frame, where no label covers another one.

    A label is placed at a corner of its box if there is space, otherwise at the nearest free place. Labels are placed
    in order, so sort boxes by importance.

    Args:
        boxes: (n, 4) ``x1, y1, x2, y2`` in pixels.
        sizes: (n, 2) width and height of the labels in pixels.
        frame: height and width of the frame.
        taken: boxes that labels must not cover either.

    Returns:
        (n, 2) int64: left and top of each label; -1 if the frame has no free place for it.
    """
    height, width = frame
    covered = [np.asarray(box, np.int64) for box in taken]
    places = np.full((len(boxes), 2), -1, np.int64)
    for i, (box, (w, h)) in enumerate(zip(np.asarray(boxes), np.asarray(sizes, np.int64).tolist(), strict=True)):
        if w > width or h > height or not np.isfinite(box).all():
            continue
        x1, y1, x2, y2 = np.clip(box, 0, [width, height, width, height]).round().astype(np.int64).tolist()
        corners = [(x1, y1 - h), (x1, y1), (x1, y2), (x2 - w, y1 - h), (x2, y1), (x1 - w, y1), (x2 - w, y2)]
        found = first_free(np.clip(np.array(corners), 0, [width - w, height - h]), w, h, covered)
        if found is None:
            found = first_free(_grid(x1, max(y1 - h, 0), w, h, frame, covered), w, h, covered)
        if found is not None:
            places[i] = found
            covered.append(np.array([found[0], found[1], found[0] + w, found[1] + h]))
    return places


def _grid(x: int, y: int, w: int, h: int, frame: tuple[int, int], covered: Sequence[Array]) -> Array:
    """Return (m, 2) places for a label of this size, nearest to (x, y) first."""
    across = {*range(0, frame[1] - w + 1, max(w // 4, 1)), frame[1] - w, *(int(c[2]) for c in covered)}
    down = {*range(0, frame[0] - h + 1, max(h // 2, 1)), frame[0] - h, *(int(c[3]) for c in covered)}
    columns = [left for left in across if 0 <= left <= frame[1] - w]
    rows = [top for top in down if 0 <= top <= frame[0] - h]
    grid = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2)
    distance = np.abs(grid - [x, y]).sum(1)
    return np.asarray(grid[np.lexsort((grid[:, 0], grid[:, 1], distance))])


def first_free(places: Array, w: int, h: int, covered: Sequence[Array | Box]) -> Array | None:
    """Return the first of (m, 2) places where a label covers nothing that is covered already; None if there is none."""
    free = np.ones(len(places), bool)
    for left, top, right, bottom in covered:
        x, y = places[:, 0], places[:, 1]
        free &= (x >= right) | (x + w <= left) | (y >= bottom) | (y + h <= top)
    return np.asarray(places[free.argmax()]) if free.any() else None
