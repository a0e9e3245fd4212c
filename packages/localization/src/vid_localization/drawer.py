"""Draws segments as a timeline below the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from attrs import define, field, frozen

from vid_localization.picture import class_name, finite_rows, segment_scores, span_of
from vidcore.sample import Sample
from vidcore.tools.draw import COLOURS, rgb, time_ticks
from vidcore.tools.drawers import Canvas, Drawer, Layer
from vidcore.typing import Array

__all__ = ["TimelineDrawer"]

MOST, LANES = 100, (12, 8, 6, 4, 3, 2)
"""Number of the best segments that are drawn; lanes of a class for segments that overlap, as many as there is space."""
BRIGHTNESS = np.array([0.3, 0.59, 0.11])
NAMES = 0.3
"""Part of the width for the names of classes."""
BRIGHT = tuple(colour for colour in COLOURS if colour != "#000000")
BACKGROUND, OTHER, GREY, TRUE, WHITE, BLACK = "#161616", "#262626", "#9a9a9a", "#c8c8c8", "#ffffff", "#000000"
"""Every second row has the second colour behind it."""


@frozen
class Bar:
    """A segment; its strength is the score divided by the best one."""

    start: float
    end: float
    text: str
    strength: float = 1.0


@define
class Row:
    """The segments of a class, which do not overlap within a lane."""

    name: str
    lanes: list[list[Bar]] = field(factory=list)
    true: list[Bar] = field(factory=list)
    hidden: int = 0
    """Segments that are left out for lack of lanes."""

    def add(self, bar: Bar, lanes: int) -> None:
        """Put a segment into the first lane where it overlaps no other."""
        free = (lane for lane in self.lanes if all(bar.start >= b.end or bar.end <= b.start for b in lane))
        lane = next(free, None)
        if lane is not None:
            lane.append(bar)
        elif len(self.lanes) < lanes:
            self.lanes.append([bar])
        else:
            self.hidden += 1

    def lasts(self, time: float) -> bool:
        """Return whether a predicted segment contains this time."""
        return any(bar.start <= time < bar.end for lane in self.lanes for bar in lane)


class TimelineDrawer(Drawer):
    """Adds a timeline below the picture: the best segments of each class, and a line at the current time.

    Segments of a class that overlap are in lanes of their own. The higher its score, the brighter a segment; the name
    of a class is white while one of its segments lasts. True segments are grey, if they are known.
    """

    layer: ClassVar[int] = 2

    @classmethod
    def can_draw(cls, sample: Sample) -> bool:
        """Return whether the sample has predicted segments, of which there may be none."""
        return sample.segments is not None

    def __init__(self, sample: Sample, canvas: Canvas, truth: Sample | None = None) -> None:
        self._face, self._margin = canvas.typeface, canvas.margin
        rows = self._fitting(sample, truth, canvas.size[0])
        ends = [bar.end for row in rows for bar in [*row.true, *(b for lane in row.lanes for b in lane)]]
        self._seconds = max([canvas.duration or 0.0, *ends, 1e-3])
        self._rows = rows
        heights = [self._height(row) for row in self._rows]
        self._tops = np.cumsum([self._margin, *heights]).tolist()
        names = self._names(sample, truth, canvas.size[1])
        widest = max([self._face.width("00:00.0"), *(self._face.width(name) for name in names)])
        self._left = min(widest, self._space(canvas.size[1])) + 2 * self._margin
        self._right = canvas.size[1] - self._margin
        self._dim = self._draw_strip(names, GREY)
        self._lit = self._draw_strip(names, WHITE)

    def draw(self, image: Array, time: float) -> Array:
        """Return a larger frame, with the timeline below it."""
        strip = self._dim.copy()
        for row, top, bottom in zip(self._rows, self._tops, self._tops[1:], strict=False):
            if row.lasts(time):
                strip[top:bottom, : self._left] = self._lit[top:bottom, : self._left]
        x, half = self._x(min(max(time, 0.0), self._seconds)), max(1, self._margin // 3)
        strip[: self._tops[-1], max(x - half, 0) : x + half] = 255
        clock = Layer(self._left, self._face.height)
        clock.fill(BACKGROUND)
        left = self._margin
        for character in f"{int(time) // 60}:{time % 60:04.1f}":  # single characters are kept, and not drawn again
            clock.write(left, 0, character, self._face)
            left += self._face.width(character) - 1
        strip[self._tops[-1] : self._tops[-1] + clock.size[0], : self._left] = clock.image()
        padded = np.zeros((len(strip), image.shape[1], 3), np.uint8)
        padded[:, : strip.shape[1]] = strip
        return np.concatenate([image, padded])

    def _x(self, time: float) -> int:
        return round(self._left + time / self._seconds * (self._right - self._left))

    def _height(self, row: Row) -> int:
        return max(self._face.height, self._lane(row) * (len(row.lanes) + bool(row.true)) + 2)

    def _lane(self, row: Row) -> int:
        """Return the height of a lane: that of a line, if there is only one."""
        lanes = max(len(row.lanes) + bool(row.true), 1)
        return max((self._face.height - 2) // lanes, self._face.height * 2 // 5)

    def _fitting(self, sample: Sample, truth: Sample | None, height: int) -> list[Row]:
        """Return rows that together are not higher than the picture; the last one may count those left out."""
        space = height - 2 * self._face.height - 3 * self._margin
        for lanes in LANES:
            rows = _rows(sample, truth, lanes) or [Row("no segments")]
            heights = np.cumsum([self._height(row) for row in rows])
            if heights[-1] <= space:
                return rows
        fitting = max(int((heights <= space).sum()), 1)
        return [*rows[:fitting], Row(f"+ {len(rows) - fitting} more classes")]

    def _names(self, sample: Sample, truth: Sample | None, width: int) -> list[str]:
        """Return the names of the rows, shortened so that they differ from those of all classes."""
        known = [*(sample.class_names or ()), *((truth and truth.class_names) or ())]
        names = list(dict.fromkeys([*known, *(row.name for row in self._rows)]))
        shown = [names.index(row.name) for row in self._rows]
        suffix = self._face.width(" +00") if any(row.hidden for row in self._rows) else 0
        short = self._face.names(names, self._space(width) - suffix, shown=shown)
        return [f"{name} +{row.hidden}" if row.hidden else name for row, name in zip(self._rows, short, strict=True)]

    def _space(self, width: int) -> int:
        """Return the pixels that names may take."""
        return max(int(width * NAMES), self._face.width("no segments +00"))

    def _draw_strip(self, names: Sequence[str], ink: str) -> Array:
        strip = Layer(self._right + self._margin, self._tops[-1] + self._face.height + self._margin)
        strip.fill(BACKGROUND)
        for top, bottom in zip(self._tops[1::2], self._tops[2::2], strict=False):
            strip.fill(OTHER, 1, (0, top, self._right + self._margin, bottom))
        self._draw_axis(strip)
        for i, (row, top, name) in enumerate(zip(self._rows, self._tops, names, strict=False)):
            lane, middle = self._lane(row), top + (self._height(row) - self._face.height) // 2
            strip.write(self._margin, middle, name, self._face, ink)
            for number, bars in enumerate([*([row.true] if row.true else []), *row.lanes]):
                colour = TRUE if row.true and number == 0 else BRIGHT[i % len(BRIGHT)]
                for bar in bars:
                    self._draw_bar(strip, bar, top + number * lane, lane, colour)
        return strip.image()

    def _draw_bar(self, strip: Layer, bar: Bar, top: int, height: int, colour: str) -> None:
        left, right = self._x(bar.start), self._x(bar.end)
        right = max(right, left + 2)  # always visible
        opacity = 0.3 + 0.7 * bar.strength
        strip.fill(colour, opacity, (left, top + 1, right, top + height))
        strip.fill(BACKGROUND, 0.6, (left, top + 1, left + 1, top + height))  # separates it from its neighbour
        width = self._face.width(bar.text)
        if height >= self._face.height - 2 and right - left > width + 2 * self._margin:
            ink = BLACK if opacity * rgb(colour) @ BRIGHTNESS > 0.45 else WHITE
            strip.write(left + self._margin, top, bar.text, self._face, ink)

    def _draw_axis(self, strip: Layer) -> None:
        end = 0
        widest = self._face.width("00:00") + 2 * self._margin
        for mark, text in time_ticks(self._seconds, max((self._right - self._left) // widest, 1)).items():
            x, width = self._x(mark), self._face.width(text)
            strip.fill(GREY, 0.35, (x, 0, x + 1, self._tops[-1]))
            left = min(max(x - width // 2, self._left), self._right - width)
            if left >= end:
                strip.write(left, self._tops[-1], text, self._face, GREY)
                end = left + width + self._margin


def _rows(sample: Sample, truth: Sample | None, lanes: int) -> list[Row]:
    """Return a row for each class, that of the best segment first, with at most this many lanes."""
    rows: dict[str, Row] = {}
    scores = segment_scores(sample)
    best = max(float(scores.max(initial=0)), 1e-9)
    order = finite_rows(sample, np.argsort(-scores, kind="stable"))[:MOST]
    for i in order:
        name = class_name(sample, i) or "segments"
        start, length = span_of(sample, i)
        strength = min(max(float(scores[i]) / best, 0.0), 1.0)
        rows.setdefault(name, Row(name)).add(Bar(start, start + length, f"{scores[i]:.2f}", strength), lanes)
    if truth is not None and truth.segments is not None:
        for i in finite_rows(truth, np.argsort(truth.segments.spans[:, 0], kind="stable")):
            start, length = span_of(truth, i)
            name = class_name(truth, i) or "segments"
            rows.setdefault(name, Row(name)).true.append(Bar(start, start + length, "true"))
    return list(rows.values())
