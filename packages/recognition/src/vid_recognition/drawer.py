"""Draws class scores on frames."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

from vidcore.records import WindowScores
from vidcore.sample import Sample
from vidcore.tools.draw import BLUE
from vidcore.tools.drawers import Canvas, Drawer, Layer
from vidcore.typing import Array

__all__ = ["LabelDrawer"]

WIDTH, HEIGHT = 0.6, 0.7
"""Largest part of the width and height of a frame that the labels cover."""
DARK, RIGHT, WRONG = "#101010", "#7ee08a", "#ffb070"


@frozen
class Row:
    """A class: its name in lines, its score, and how long its bar is."""

    text: str
    score: str = ""
    bar: float = 0.0
    colour: str = "#ffffff"

    @property
    def lines(self) -> list[str]:
        return self.text.split("\n")


class LabelDrawer(Drawer):
    """Writes the best classes with their scores into a corner of the picture, and the true class if it is known.

    A bar behind each class shows its score. Names that are too long are wrapped, and then shortened. Scores of windows
    change along the video.
    """

    layer: ClassVar[int] = 1

    @classmethod
    def can_draw(cls, sample: Sample) -> bool:
        """Return whether the sample has class scores, or those of windows."""
        return _windows(sample) is not None or (sample.scores is not None and len(sample.scores) > 0)

    def __init__(self, sample: Sample, canvas: Canvas, truth: Sample | None = None) -> None:
        self._face, self._margin = canvas.typeface, canvas.margin
        self._highest = canvas.size[0] * HEIGHT
        self._windows = _windows(sample)
        self._rows = _window_rows(sample, self._windows, canvas) if self._windows else [_rows(sample, truth, canvas)]
        self._rows = [self._fitting(rows) for rows in self._rows]
        every = [row for rows in self._rows for row in rows]
        numbers = max((self._face.width(row.score) for row in every), default=0)
        names = max((self._face.width(line) for row in every for line in row.lines), default=0)
        self._width = min(names + numbers + 4 * self._margin, canvas.size[1])
        height = max((self._height(rows) for rows in self._rows), default=0)
        self._place = canvas.reserve(self._width, min(height, canvas.size[0]))
        self._drawn: tuple[int, Layer] | None = None

    def draw(self, image: Array, time: float) -> Array:
        """Put the labels over the frame."""
        number = self._windows.at(time) if self._windows else 0
        if self._place is not None and number is not None:
            if self._drawn is None or self._drawn[0] != number:
                self._drawn = number, self._draw_panel(self._rows[number])
            self._drawn[1].over(image, *self._place)
        return image

    def _height(self, rows: list[Row]) -> int:
        return sum(len(row.lines) for row in rows) * self._face.height + 2 * self._margin

    def _fitting(self, rows: list[Row]) -> list[Row]:
        while self._height(rows) > self._highest and len(rows) > 1:
            rows = rows[:-1]
        return rows

    def _draw_panel(self, rows: list[Row]) -> Layer:
        face, margin = self._face, self._margin
        panel = Layer(self._width, self._height(rows))
        panel.fill(DARK, 0.65)
        top = margin
        for row in rows:
            height = len(row.lines) * face.height
            panel.fill(BLUE, 0.9, (0, top, row.bar * self._width, top + height - 1))
            panel.write(margin, top, row.text, face, row.colour)
            panel.write(self._width - margin - face.width(row.score), top, row.score, face)
            top += height
        return panel


def _rows(sample: Sample, truth: Sample | None, canvas: Canvas) -> list[Row]:
    """Return the best classes of a whole video, and the true ones."""
    assert sample.scores is not None
    scores = np.nan_to_num(sample.scores.astype(np.float64), nan=-np.inf)
    order = np.argsort(-scores, kind="stable")[: canvas.top].tolist()
    best = [i for i in order if scores[i] != 0] or order[:1]  # 0 is the score of classes that do not count
    every = _names(sample, len(scores))
    texts = canvas.typeface.names(every, _space(canvas), lines=2, shown=best)
    rows = [_row(text, float(sample.scores[i])) for text, i in zip(texts, best, strict=True)]
    true = [] if truth is None else [i for i in _labels(truth) if 0 <= i < len(every)]
    colour = RIGHT if best[0] in true else WRONG
    marked = canvas.typeface.names([f"true: {name}" for name in every], _space(canvas), lines=2, shown=true)
    return rows + [Row(text, colour=colour) for text in marked]


def _window_rows(sample: Sample, windows: WindowScores, canvas: Canvas) -> list[list[Row]]:
    """Return the best classes of each window."""
    labels, scores = windows.labels[:, : canvas.top], windows.scores[:, : canvas.top]
    shown = np.unique(labels).tolist()
    every = _names(sample, max(shown, default=0) + 1)
    texts = dict(zip(shown, canvas.typeface.names(every, _space(canvas), lines=2, shown=shown), strict=True))
    return [
        [_row(texts[label], score) for label, score in zip(*both, strict=True)]
        for both in zip(labels.tolist(), scores.tolist(), strict=True)
    ]


def _row(text: str, score: float) -> Row:
    return Row(text, f"{score:.2f}", min(max(float(np.nan_to_num(score)), 0.0), 1.0))


def _names(sample: Sample, count: int) -> list[str]:
    names = sample.class_names or ()
    return [*names, *(f"class {i}" for i in range(len(names), count))]


def _space(canvas: Canvas) -> int:
    """Return the pixels that a line of a name may take."""
    return int(canvas.size[1] * WIDTH) - canvas.typeface.width("0.00") - 4 * canvas.margin


def _windows(sample: Sample) -> WindowScores | None:
    found = sample.extra.get("windows")
    return found if isinstance(found, WindowScores) else None


def _labels(sample: Sample) -> list[int]:
    if sample.labels is not None:
        return [int(i) for i in np.flatnonzero(sample.labels > 0)]
    return [] if sample.label is None else [sample.label]
