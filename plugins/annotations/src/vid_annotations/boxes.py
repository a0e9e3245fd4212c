"""Boxes between two others, and around a turned one."""

from __future__ import annotations

import math

from vid_annotations.table import Box

__all__ = ["between", "turned"]


def between(first: Box, second: Box, share: float) -> Box:
    """Return the box that is ``share`` (0 to 1) of the way from one to the other.

    >>> between((0, 0, 10, 10), (10, 0, 30, 10), 0.5)
    (5.0, 0.0, 20.0, 10.0)
    """
    left, top, right, bottom = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return left, top, right, bottom


def turned(box: Box, degrees: float, pivot: tuple[float, float]) -> Box:
    """Return the box around one that is turned clockwise about a point, in pixels.

    >>> [round(side, 9) for side in turned((0, 0, 4, 2), 90, (0, 0))]
    [-2.0, 0.0, 0.0, 4.0]
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x - pivot[0], y - pivot[1]) for x in box[::2] for y in box[1::2]]
    xs = [pivot[0] + x * cos - y * sin for x, y in corners]
    ys = [pivot[1] + x * sin + y * cos for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)
