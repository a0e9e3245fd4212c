"""A picture of the classes that are predicted along a video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import define, field

from vidcore.tools.draw import BLUE, Axes, Figure, add_axes, drawing, new_figure, time_axis, tint
from vidcore.typing import Array

__all__ = ["ClassTimeline", "draw_timelines"]

ROWS, COLUMNS = 12, 1200
"""Most classes that are drawn, and cells along the time axis."""
WIDTH, HEIGHT, GAP = 7.5, 0.24, 0.5
"""Inches of the time axis, of a row, and above each timeline."""


@define
class ClassTimeline:
    """Collects the best classes of windows of a video in little memory, and draws them."""

    title: str
    unit_is_seconds: bool = True
    """Whether starts and ends are in seconds; otherwise in frames."""
    rows: int = ROWS
    """Most classes that are drawn."""
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

    @property
    def end(self) -> float:
        """End of the last window."""
        return max(self._ends)

    def raster(self, end: float | None = None) -> tuple[Array, Array, float]:
        """Return what is drawn, up to a time; default: the end of the last window.

        Returns:
            (rows,) int numbers of the classes with the highest sum of scores; (rows, columns) float scores over time,
            nan in gaps between windows; the end of the picture.
        """
        classes, scores = np.concatenate(self._classes), np.concatenate(self._scores)
        total = np.bincount(classes, scores)
        shown = np.argsort(-total, kind="stable")[: self.rows]
        shown = shown[total[shown] > 0]
        end = end or self.end
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
        return draw_timelines([self], class_names)


def draw_timelines(timelines: Sequence[ClassTimeline], class_names: Sequence[str] | None) -> Figure:
    """Draw timelines of one video below each other, on the same axis of time; see ``ClassTimeline.draw``."""
    end = max(one.end for one in timelines)
    rasters = [one.raster(end)[:2] for one in timelines]
    highest = max(*(float(np.nan_to_num(image).max(initial=0)) for _, image in rasters), 1e-9)

    def name(number: int) -> str:
        return class_names[number] if class_names else f"class {number}"

    every = [name(number) for shown, _ in rasters for number in shown.tolist()]
    with drawing([*(one.title for one in timelines), *every]) as letters:
        texts = [[letters.name(name(k), k, 36) for k in shown.tolist()] for shown, _ in rasters]
        heights = [np.array([HEIGHT * (1 + 0.6 * text.count("\n")) for text in rows] or [HEIGHT]) for rows in texts]
        figure = new_figure(WIDTH + 3, sum(float(rows.sum()) + GAP for rows in heights) + 0.5)
        top = GAP
        for number, timeline in enumerate(timelines):
            axes = add_axes(figure, 2.5, top, WIDTH, float(heights[number].sum()))
            axes.set_title(letters.text(timeline.title))
            if not number and len(rasters[0][1]):
                axes.set_title(f"darkest: {highest:.2f}", loc="right", fontsize=9)
            _draw_rows(axes, rasters[number][1] / highest, heights[number], end)
            edges = np.cumsum([0.0, *heights[number]])
            axes.set_yticks((edges[:-1] + heights[number] / 2)[: len(texts[number])], texts[number])
            axes.tick_params("y", length=0)
            if timeline.unit_is_seconds:
                time_axis(axes, end)
            else:
                axes.set_xlim(0, end)
                axes.set_xlabel("frame" if number + 1 == len(timelines) else "")
            if number + 1 < len(timelines):
                axes.tick_params("x", labelbottom=False)
            top += float(heights[number].sum()) + GAP
    return figure


def _draw_rows(axes: Axes, image: Array, heights: Array, end: float) -> None:
    """Draw the rows of a raster (rows, columns), whose highest value is 1, from the top."""
    edges = np.cumsum([0.0, *heights])
    for row, top, bottom in zip(image, edges, edges[1:], strict=False):
        colours = tint(BLUE, np.clip(np.nan_to_num(row), 0, 1))
        colours = np.concatenate([colours, ~np.isnan(row)[:, None]], 1)  # gaps are transparent
        axes.imshow(colours[None], extent=(0, end, bottom - 0.03, top + 0.03), aspect="auto", interpolation="nearest")
    axes.set_ylim(edges[-1], 0)
