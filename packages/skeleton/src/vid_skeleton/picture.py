"""A picture of skeletons at several times. Imports matplotlib, so import this module where pictures are drawn."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vid_skeleton.graphs import Layout
from vidcore.tools.draw import BLUE, VERMILION, add_axes, drawing, new_figure, save_figure
from vidcore.typing import Array

__all__ = ["draw_figures"]

TIMES = 8
"""Moments of a row."""


def draw_figures(figures: Mapping[str, Array], layout: Layout, path: Path) -> None:
    """Write a PNG with a row for each figure: its skeleton at even times, the left side blue, the right side red.

    Args:
        figures: (frames, V, 2) pixels by title; NaN: joints that were not found.
        layout: of the joints.
        path: of the picture.
    """
    size, gap = 1.2, 0.3
    with drawing():
        picture = new_figure(TIMES * size, len(figures) * (size + gap))
        for row, (title, points) in enumerate(figures.items()):
            low, high = np.nanmin(points, (0, 1)), np.nanmax(points, (0, 1))
            middle, half = (low + high) / 2, 0.55 * (high - low).max()
            for column, frame in enumerate(np.linspace(0, len(points) - 1, TIMES).round().astype(int)):
                axes = add_axes(picture, column * size, row * (size + gap) + gap, size, size)
                axes.axis("off")
                axes.set_xlim(middle[0] - half, middle[0] + half)
                axes.set_ylim(middle[1] + half, middle[1] - half)
                for edge in layout.inward:
                    left = edge[0] in layout.left
                    colour = BLUE if left else VERMILION if edge[0] in layout.right else "#555555"
                    axes.plot(*points[frame, list(edge)].T, color=colour, linewidth=1.5)
                if not column:
                    axes.set_title(title, loc="left")
        save_figure(picture, path)
