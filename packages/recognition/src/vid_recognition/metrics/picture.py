"""Drawing of a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vidcore.tools.draw import (
    BLUE,
    INK,
    VERMILION,
    Axes,
    Figure,
    Letters,
    add_axes,
    columns,
    drawing,
    new_figure,
    tint,
)
from vidcore.typing import Array

__all__ = ["draw_confusion_matrix", "worst_confusions"]

MAX_SIDE, MIN_CELL, MAX_CELL, MIN_COUNT_CELL = 8.0, 0.16, 0.6, 0.3
"""In inches: side of a large matrix; size of a cell with a name; minimum size of a cell with a count."""
MAX_NAMED = 60
"""Above this number of classes, only some are labelled with their name, and cells are found by number."""
MAX_CELLS = 480
"""Maximum cells per side; with more classes, a cell shows the largest fraction of several classes."""
NAME_WIDTH, LINE_HEIGHT = 28, 0.15
"""Columns of a name before it is wrapped, and height of a line in inches."""


def draw_confusion_matrix(matrix: Array, names: Sequence[str], font: Path | None = None) -> Figure:
    """Draw counts: rows are true classes, blue on the diagonal, red elsewhere.

    The larger its fraction of the row, the darker a cell. If counts do not fit into cells, the most
    frequent confusions are listed beside the matrix. More than 60 classes are drawn as an overview.

    Args:
        matrix: (C, C) counts.
        names: class names.
        font: font file to prefer over the installed fonts.
    """
    classes = len(matrix)
    with drawing(names, font) as letters:
        width = NAME_WIDTH if classes <= 20 else max(NAME_WIDTH, max(map(columns, names)) // 2 + 8)  # at most two lines
        labels = [letters.name(name, i, min(width, 64)) for i, name in enumerate(names)]
        lines = 1 + max(label.count("\n") for label in labels)
        cell = MAX_SIDE / classes
        if classes <= MAX_NAMED:
            cell = max(MIN_CELL, LINE_HEIGHT * lines + 0.02, min(cell, MAX_CELL))
        side = cell * classes
        figure = new_figure(side + 2, side + 2)
        axes = add_axes(figure, 1, 1, side, side)
        axes.imshow(_cells(matrix), extent=(-0.5, classes - 0.5, classes - 0.5, -0.5), interpolation="nearest")
        axes.spines[:].set_visible(True)
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("top")
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class" if classes > MAX_NAMED else "true class (samples)")
        if classes > MAX_NAMED:
            step = next(s for s in (5, 10, 20, 25, 50, 100, 200, 500, classes) if classes / s <= 25)
            ticks = range(0, classes, step)
            axes.set_xticks(ticks, [str(i) for i in ticks])
            axes.set_yticks(ticks, [f"{labels[i]}  {i}" for i in ticks])
        else:
            rows = [f"{label} ({count})" for label, count in zip(labels, matrix.sum(1), strict=True)]
            axes.set_xticks(range(classes), labels, rotation=90)
            axes.set_yticks(range(classes), rows)
            axes.tick_params(length=0)
            for edge in np.arange(0.5, classes - 1):
                axes.axhline(edge, color="#dddddd", linewidth=0.5)
                axes.axvline(edge, color="#dddddd", linewidth=0.5)
        if cell >= MIN_COUNT_CELL:
            _write_counts(axes, matrix, cell)
        else:
            _write_worst(axes, side, worst_confusions(matrix, 25), names, letters)
    return figure


def worst_confusions(matrix: Array, top: int) -> list[tuple[int, int, int, float]]:
    """Return the most frequent confusions: true class, predicted class, count, and fraction of the true class.

    Equal counts are sorted by fraction, then by class numbers.
    """
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    true, predicted = np.nonzero(wrong)
    counts, fractions = wrong[true, predicted], _fractions(matrix)[true, predicted]
    order = np.lexsort((-fractions, -counts))[:top]
    return [(int(true[i]), int(predicted[i]), int(counts[i]), float(fractions[i])) for i in order]


def _fractions(matrix: Array) -> Array:
    return np.asarray(matrix / np.maximum(matrix.sum(1, keepdims=True), 1))


def _cells(matrix: Array) -> Array:
    """Return (S, S, 3) float colours of cells, each of one or several classes."""
    strength = np.sqrt(_fractions(matrix))  # the square root makes rare errors visible
    wrong = strength * ~np.eye(len(matrix), dtype=bool)
    right = strength - wrong
    starts = np.arange(0, len(matrix), -(-len(matrix) // MAX_CELLS))
    right, wrong = (np.maximum.reduceat(np.maximum.reduceat(s, starts, 0), starts, 1) for s in (right, wrong))
    return np.where(right[..., None] > 0, tint(BLUE, right), tint(VERMILION, wrong))


def _write_counts(axes: Axes, matrix: Array, cell: float) -> None:
    size = min(9.0, cell * 72 / (0.65 * len(str(matrix.max())) + 0.5))
    fractions = _fractions(matrix)
    for i, j in np.argwhere(matrix) if size >= 5 else ():
        ink = "white" if fractions[i, j] > 0.3 else INK
        axes.text(j, i, str(matrix[i, j]), ha="center", va="center", fontsize=size, color=ink)


def _write_worst(
    axes: Axes, side: float, worst: Sequence[tuple[int, int, int, float]], names: Sequence[str], letters: Letters
) -> None:
    """List confusions to the right of a matrix, as many as fit into ``side`` inches."""

    def name(i: int) -> str:
        number = f"{i}  " if len(names) > MAX_NAMED else ""  # axes are labelled by number
        return number + letters.name(names[i], i, 42)

    def write(text: str, right: float, size: float = 9) -> None:
        at = (1 + (0.3 + right) / side, 1 - down / side)
        axes.text(*at, text, transform=axes.transAxes, va="top", fontsize=size)

    down = 0.0
    if worst:
        write("most frequent confusions", 0, 11)
    down += 0.3
    for true, predicted, count, fraction in worst:
        text = f"{name(true)}\n→ {name(predicted)}"
        height = LINE_HEIGHT * (text.count("\n") + 1)
        if down + height > side:
            break
        write(f"{count}\n{fraction:.0%}", 0)
        write(text, 0.6)
        down += height + 0.13
