"""Overlaps of boxes as NumPy functions: ``x1, y1, x2, y2``, in float64."""

from __future__ import annotations

import numpy as np

from vidcore.typing import Array

__all__ = ["areas", "intersections", "ioa", "iou"]


def areas(boxes: Array, pixels: bool = False) -> Array:
    """Area of each box: (..., 4) -> (...).

    Args:
        boxes: corners.
        pixels: corners are numbers of pixels, and the far corner belongs to the box: width is x2 - x1 + 1.
    """
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2] + float(pixels), 0)
    out: Array = sides[..., 0] * sides[..., 1]
    return out


def intersections(boxes: Array, others: Array, pixels: bool = False) -> Array:
    """Shared area of boxes (..., 4) and others (..., 4): leading axes are broadcast, ``pixels`` is as in ``areas``."""
    width = np.minimum(boxes[..., 2], others[..., 2]) - np.maximum(boxes[..., 0], others[..., 0]) + float(pixels)
    height = np.minimum(boxes[..., 3], others[..., 3]) - np.maximum(boxes[..., 1], others[..., 1]) + float(pixels)
    out: Array = np.maximum(width, 0) * np.maximum(height, 0)
    return out


def iou(boxes: Array, others: Array, pixels: bool = False) -> Array:
    """Intersection over union; 0 where both boxes are empty. Arguments as in ``intersections``.

    >>> iou(np.array([0.0, 0.0, 2.0, 2.0]), np.array([[1.0, 0.0, 3.0, 2.0], [0.0, 0.0, 2.0, 1.0]])).tolist()
    [0.3333333333333333, 0.5]
    """
    shared = intersections(boxes, others, pixels)
    return _ratio(shared, areas(boxes, pixels) + areas(others, pixels) - shared)


def ioa(boxes: Array, others: Array) -> Array:
    """Intersection over the area of the others; 0 where they are empty. Arguments as in ``intersections``."""
    return _ratio(intersections(boxes, others), areas(others))


def _ratio(shared: Array, whole: Array) -> Array:
    return np.divide(shared, whole, out=np.zeros_like(shared), where=np.broadcast_to(whole, shared.shape) > 0)
