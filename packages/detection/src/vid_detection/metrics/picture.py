"""Precision-recall curves of classes. Imports matplotlib; import it where pictures are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vid_detection.metrics.functional import Ranked
from vidcore.tools.draw import Figure, add_axes, drawing, left_to_right, new_figure
from vidcore.typing import Array

__all__ = ["draw_precision_recall"]

PANELS, COLUMNS, SIDE, GAP = 20, 5, 1.5, 0.65
"""Most classes that are drawn, those in a row, and inches: the side of a panel, and the space between panels."""
POINTS = 400
"""Most points of a curve."""


def draw_precision_recall(
    ranked: Sequence[Ranked], names: Sequence[str], ap: Array, font: Path | None = None
) -> Figure | None:
    """Draw precision over recall for the classes with the most true boxes, a panel for each.

    Args:
        ranked: detections of each class, best first.
        names: class names.
        ap: (classes,) average precision, nan for classes that do not count.
        font: font file that takes precedence over installed fonts.

    Returns:
        The figure; None if no class counts.
    """
    counted = np.flatnonzero(~np.isnan(ap))
    order = sorted(counted.tolist(), key=lambda c: (-ranked[c].truths, c))[:PANELS]
    if not order:
        return None
    with drawing([names[c] for c in order], font) as letters:
        rows = -(-len(order) // COLUMNS)
        wide = min(len(order), COLUMNS)
        figure = new_figure(wide * (SIDE + GAP), rows * (SIDE + GAP + 0.2) + 0.3)
        for k, c in enumerate(order):
            left, top = k % COLUMNS * (SIDE + GAP) + 0.4, k // COLUMNS * (SIDE + GAP + 0.2) + 0.4
            axes = add_axes(figure, left, top, SIDE, SIDE)
            precision, recall = _curve(ranked[c])
            axes.plot(recall, precision, drawstyle="steps-post", linewidth=1.2)
            axes.fill_between(recall, precision, step="post", alpha=0.15)
            name = letters.name(left_to_right(names[c]), c + 1, 24)
            axes.set_title(f"{name}\nAP {ap[c]:.3f}, boxes: {ranked[c].truths}", fontsize=7.5)
            axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            axes.tick_params(labelsize=7)
            axes.grid(True)
            if k % COLUMNS == 0:
                axes.set_ylabel("precision", fontsize=8)
            if k + COLUMNS >= len(order):
                axes.set_xlabel("recall", fontsize=8)
    return figure


def _curve(ranked: Ranked) -> tuple[Array, Array]:
    """Return precision and recall after each detection, from recall 0 on, thinned."""
    correct = ranked.correct.cumsum()
    precision, recall = correct / np.arange(1, len(correct) + 1), correct / ranked.truths
    chosen = np.unique(np.linspace(0, max(len(correct) - 1, 0), POINTS).astype(np.int64))[: len(correct)]
    first = precision[:1] if len(precision) else np.zeros(1)
    return np.concatenate([first, precision[chosen]]), np.concatenate([[0.0], recall[chosen]])
