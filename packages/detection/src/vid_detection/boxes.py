"""What is done with scored boxes: suppression, classes, and their place in the decoded frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vid_detection.overlaps import iou
from vidcore.typing import Array

__all__ = ["class_boxes", "published_fractions", "suppress_boxes"]


def suppress_boxes(
    boxes: Array,
    scores: Array,
    iou_threshold: float,
    score_threshold: float = 0.0,
    max_num: int | None = None,
    pixels: bool = False,
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
        pixels: see ``vid_detection.overlaps.areas``.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    if score_threshold > 0:
        order = order[np.asarray(scores)[order] > score_threshold]
    kept: list[int] = []
    while len(order) and (max_num is None or len(kept) < max_num):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[iou(boxes[best], boxes[order], pixels) <= iou_threshold]
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
