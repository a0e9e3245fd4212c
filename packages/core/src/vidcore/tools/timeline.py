"""A picture of the classes that are predicted along a video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import define, field

from vidcore.tools.draw import BLUE, Figure, add_axes, drawing, new_figure, time_axis, tint
from vidcore.typing import Array

__all__ = ["ClassTimeline"]

ROWS, COLUMNS = 12, 1200
"""Most classes that are drawn, and cells along the time axis."""
WIDTH, HEIGHT = 7.5, 0.24
"""Inches of the time axis and of a row."""


@define
class ClassTimeline:
    """Collects the best classes of windows of a video in little memory, and draws them."""

    title: str
    unit_is_seconds: bool = True
    """Whether starts and ends are in seconds; otherwise in frames."""
    _starts: list[float] = field(factory=list)
    _ends: list[float] = field(factory=list)
    _classes: list[Array] = field(factory=list)
    _scores: list[Array] = field(factory=list)

    def add(self, start: float, end: float, scores: Array, top: int = 5) -> None:
        """Add a window and its (classes,) scores, of which the ``top`` best are kept."""
        best = np.argsort(-scores, kind="stable")[:top]
        self._starts.append(start)
        self._ends.append(end)
        self._classes.append(best.astype(np.int32))
        self._scores.append(np.asarray(scores[best], np.float32))

    def raster(self) -> tuple[Array, Array, float]:
        """Return what is drawn.

        Returns:
            (rows,) int numbers of the classes with the highest sum of scores; (rows, columns) float scores over time,
            nan in gaps between windows; the end of the video.
        """
        classes, scores = np.concatenate(self._classes), np.concatenate(self._scores)
        total = np.bincount(classes, scores)
        shown = np.argsort(-total, kind="stable")[:ROWS]
        shown = shown[total[shown] > 0]
        end = max(self._ends)
        image = np.full((len(shown), COLUMNS), np.nan)
        place = {int(number): row for row, number in enumerate(shown)}
        for start, stop, found, values in zip(self._starts, self._ends, self._classes, self._scores, strict=True):
            first = min(int(start / end * COLUMNS), COLUMNS - 1)
            last = max(int(np.ceil(stop / end * COLUMNS)), first + 1)
            cells = image[:, first:last]
            cells[np.isnan(cells)] = 0.0
            for number, value in zip(found.tolist(), values.tolist(), strict=True):
                if (row := place.get(number)) is not None:
                    np.maximum(cells[row], value, out=cells[row])
        return shown, image, end

    def draw(self, class_names: Sequence[str] | None) -> Figure:
        """Draw a row for each of the classes that score highest: the darker, the higher the score at that time.

        The highest score has the full colour, and stands above the picture.
        """
        shown, image, end = self.raster()
        highest = max(float(np.nan_to_num(image).max(initial=0)), 1e-9)
        names = [class_names[k] if class_names else f"class {k}" for k in shown]
        with drawing([self.title, *names]) as letters:
            texts = [letters.name(name, int(k), 36) for name, k in zip(names, shown, strict=True)]
            heights = np.array([HEIGHT * (1 + 0.6 * text.count("\n")) for text in texts] or [HEIGHT])
            edges = np.cumsum([0.0, *heights])
            figure = new_figure(WIDTH + 3, edges[-1] + 1)
            axes = add_axes(figure, 2.5, 0.5, WIDTH, edges[-1])
            axes.set_title(letters.text(self.title))
            if len(image):
                axes.set_title(f"darkest: {highest:.2f}", loc="right", fontsize=9)
            axes.set_ylim(edges[-1], 0)
            for row, top, bottom in zip(image, edges, edges[1:], strict=False):
                colours = tint(BLUE, np.clip(np.nan_to_num(row) / highest, 0, 1))
                colours = np.concatenate([colours, ~np.isnan(row)[:, None]], 1)  # gaps are transparent
                box = (0, end, bottom - 0.03, top + 0.03)
                axes.imshow(colours[None], extent=box, aspect="auto", interpolation="nearest")
            axes.set_ylim(edges[-1], 0)
            axes.set_yticks((edges[:-1] + heights / 2)[: len(texts)], texts)
            axes.tick_params("y", length=0)
            if self.unit_is_seconds:
                time_axis(axes, end)
            else:
                axes.set_xlim(0, end)
                axes.set_xlabel("frame")
        return figure
