"""Draws class scores on frames."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from attrs import frozen

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


class LabelDrawer(Drawer):
    """Writes the best classes with their scores into a corner of the picture, and the true class if it is known.

    A bar behind each class shows its score. Names that are too long are wrapped, and then shortened.
    """

    layer: ClassVar[int] = 1

    @classmethod
    def can_draw(cls, sample: Sample) -> bool:
        """Return whether the sample has class scores."""
        return sample.scores is not None and len(sample.scores) > 0

    def __init__(self, sample: Sample, canvas: Canvas, truth: Sample | None = None) -> None:
        self._panel, self._place = self._draw_panel(_rows(sample, truth, canvas), canvas)

    def draw(self, image: Array, time: float) -> Array:
        """Put the labels over the frame."""
        if self._place is not None:
            self._panel.over(image, *self._place)
        return image

    def _draw_panel(self, rows: list[Row], canvas: Canvas) -> tuple[Layer, tuple[int, int] | None]:
        face, margin = canvas.typeface, canvas.margin
        heights = [face.height * (row.text.count("\n") + 1) for row in rows]
        while sum(heights) > canvas.size[0] * HEIGHT and len(rows) > 1:
            rows, heights = rows[:-1], heights[:-1]
        numbers = max(face.width(row.score) for row in rows)
        names = max(face.width(line) for row in rows for line in row.text.split("\n"))
        width = min(names + numbers + 4 * margin, canvas.size[1])
        panel = Layer(width, min(sum(heights) + 2 * margin, canvas.size[0]))
        panel.fill(DARK, 0.65)
        top = margin
        for row, height in zip(rows, heights, strict=True):
            panel.fill(BLUE, 0.9, (0, top, row.bar * width, top + height - 1))
            panel.write(margin, top, row.text, face, row.colour)
            panel.write(width - margin - face.width(row.score), top, row.score, face)
            top += height
        return panel, canvas.reserve(width, panel.size[0])


def _rows(sample: Sample, truth: Sample | None, canvas: Canvas) -> list[Row]:
    """Return the best classes, and the true ones."""
    assert sample.scores is not None
    scores = np.nan_to_num(sample.scores.astype(np.float64), nan=-np.inf)
    names = sample.class_names or ()
    every = [names[i] if i < len(names) else f"class {i}" for i in range(len(scores))]
    face = canvas.typeface
    space = int(canvas.size[1] * WIDTH) - face.width("0.00") - 4 * canvas.margin
    best = np.argsort(-scores, kind="stable")[: canvas.top].tolist()
    rows = [
        Row(text, f"{sample.scores[i]:.2f}", min(max(float(scores[i]), 0.0), 1.0))
        for i, text in zip(best, face.names(every, space, lines=2, shown=best), strict=True)
    ]
    true = [] if truth is None else [i for i in _labels(truth) if 0 <= i < len(every)]
    colour = RIGHT if best[0] in true else WRONG
    marked = face.names([f"true: {name}" for name in every], space, lines=2, shown=true)
    return rows + [Row(text, colour=colour) for text in marked]


def _labels(sample: Sample) -> list[int]:
    if sample.labels is not None:
        return [int(i) for i in np.flatnonzero(sample.labels > 0)]
    return [] if sample.label is None else [sample.label]
