"""Arithmetic of boxes: overlap, suppression, classes, and their place in the decoded frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidcore.typing import Array

__all__ = ["box_iou", "class_boxes", "published_fractions", "suppress_boxes"]

LEAST_UNION = 1e-6
"""Unions of boxes without area count as this, in square pixels, so that their overlap is 0."""


def box_iou(first: Array, second: Array, offset: int = 0) -> Array:
    """Return the intersection over union of each two of (n, 4) and (m, 4) boxes ``x1, y1, x2, y2``: (n, m) float32.

    Args:
        first, second: boxes in the same units.
        offset: added to each side: 1 if the far corner is the last pixel of a box, 0 if it is a point on its edge.

    >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 2], [1, 0, 3, 2], [5, 5, 6, 6]])).round(2).tolist()
    [[1.0, 0.33000001311302185, 0.0]]
    """
    a, b = np.asarray(first, np.float32)[:, None], np.asarray(second, np.float32)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + offset
    shared = np.maximum(sides, 0).prod(-1)
    areas = [(boxes[..., 2:] - boxes[..., :2] + offset).prod(-1) for boxes in (a, b)]
    return np.asarray(shared / np.maximum(areas[0] + areas[1] - shared, LEAST_UNION), np.float32)


def suppress_boxes(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    score_threshold: float = 0.0,
    max_num: int | None = None,
    offset: int = 0,
) -> Array:
    """Return the rows of boxes that greedy suppression keeps, best first: (k,) int64.

    Each box, in order of falling score, removes those that it overlaps by more than ``iou_threshold``; of equal scores
    the first row comes first.

    Args:
        boxes: (n, 4), of one class.
        scores: (n,).
        iou_threshold: from 0 to 1.
        score_threshold: boxes with at most this score are dropped; 0: none are.
        max_num: number of boxes to keep at most; default: all.
        offset: see ``box_iou``.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    if score_threshold > 0:
        order = order[np.asarray(scores)[order] > score_threshold]
    kept: list[int] = []
    while len(order) and (max_num is None or len(kept) < max_num):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[box_iou(boxes[best : best + 1], boxes[order], offset)[0] <= iou_threshold]
    return np.array(kept, np.int64)


def class_boxes(boxes: Array, scores: Array, threshold: float | Sequence[float]) -> list[Array]:
    """Return the boxes of each class but the background, with their score: a list of (k, 5).

    Args:
        boxes: (n, 4).
        scores: (n, classes); class 0 is the background.
        threshold: a box belongs to the classes with a score above it, of which there may be several; one for all
            classes, or one for each. Below 0: to its best class only.
    """
    foreground = np.asarray(scores)[:, 1:]
    if np.ndim(threshold) == 0 and float(threshold) < 0:  # type: ignore[arg-type]
        belongs = np.arange(foreground.shape[1]) == foreground.argmax(1)[:, None]
    else:
        limits = np.broadcast_to(threshold, scores.shape[1])[1:]
        belongs = foreground > limits
    return [np.column_stack((boxes[rows], foreground[rows, number])) for number, rows in enumerate(belongs.T)]


def published_fractions(
    boxes: Array,
    size: tuple[int, int],
    mirrored: bool = False,
    crop_quadruple: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
) -> Array:
    """Return boxes of the frames that a model sees as fractions of the decoded frame, as published: (n, 4) float32.

    ``Geometry.relative`` is exact. This mirrors a coordinate x to ``width - 1 - x``, which is a pixel beside it, and
    takes frames to be mirrored after they are cropped.

    Args:
        boxes: (n, 4) in pixels.
        size: height and width of the frames.
        mirrored: whether they are mirrored horizontally.
        crop_quadruple: x, y, width, height of the crop, as fractions of the decoded frame.
    """
    height, width = size
    out = np.array(boxes, np.float32)
    if mirrored:
        out[:, [0, 2]] = width - 1 - out[:, [2, 0]]
    x, y, w, h = crop_quadruple
    return np.asarray(out / [width, height, width, height] * [w, h, w, h] + [x, y, x, y], np.float32)
