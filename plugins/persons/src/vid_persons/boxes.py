"""Overlap of boxes, and parts of frames as the inputs of networks."""

from __future__ import annotations

import cv2
import numpy as np

from vidcore.typing import Array

__all__ = ["distinct", "letterbox", "overlaps", "warp"]


def overlaps(first: Array, second: Array) -> Array:
    """Return the intersection over union of each two of (n, 4) and (m, 4) boxes: (n, m) float64.

    >>> overlaps(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])).round(2).tolist()
    [[1.0, 0.33, 0.0]]
    """
    a, b = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    return np.asarray(shared / np.maximum(union, 1e-9))


def distinct(boxes: Array, scores: Array, limit: float) -> list[int]:
    """Return the rows of boxes that overlap less than ``limit`` with all better ones, best first."""
    kept: list[int] = []
    table = overlaps(boxes, boxes)
    for row in np.argsort(-scores, kind="stable").tolist():
        if all(table[row, other] < limit for other in kept):
            kept.append(row)
    return kept


def letterbox(frame: Array, size: tuple[int, int], fill: int = 0, centred: bool = False) -> tuple[Array, float, Array]:
    """Scale a frame to fit into a size, and fill the rest.

    Args:
        frame: (height, width, 3) uint8.
        size: height and width of the result.
        fill: brightness of the rest.
        centred: put the frame in the middle instead of the upper left corner.

    Returns:
        The result; the factor; and x and y of the frame's corner in it: ``point * factor + corner``.
    """
    height, width = frame.shape[:2]
    factor = min(size[0] / height, size[1] / width)
    rows, columns = max(round(height * factor), 1), max(round(width * factor), 1)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    top, left = ((size[0] - rows) // 2, (size[1] - columns) // 2) if centred else (0, 0)
    made = np.full((*size, 3), fill, np.uint8)
    made[top : top + rows, left : left + columns] = cv2.resize(frame, (columns, rows), interpolation=method)
    return made, factor, np.array([left, top], np.float64)


def warp(frame: Array, matrix: Array, size: tuple[int, int]) -> Array:
    """Return a part of a frame, black beyond its edges.

    Args:
        frame: (height, width, 3) uint8.
        matrix: (2, 3) from points of the part to those of the frame; 0 is the edge of the first pixel.
        size: height and width of the part.
    """
    pixels = np.array(matrix, np.float64)
    pixels[:, 2] += 0.5 * pixels[:, :2].sum(1) - 0.5  # OpenCV counts from the middle of the first pixel
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(frame, pixels, (size[1], size[0]), flags=flags))
