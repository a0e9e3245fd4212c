"""Overlaps of segments, and offsets from one segment to another, as NumPy functions."""

from __future__ import annotations

import numpy as np

from vidcore.typing import Array

__all__ = ["best_coverage", "best_iou", "hull_iou", "iou_and_coverage", "regression_targets"]


def iou_and_coverage(segments: Array, others: Array) -> tuple[Array, Array]:
    """Intersection over union, and the fraction of each segment that the other one covers.

    Args:
        segments, others: (..., 2) start and end; the leading axes are broadcast.

    Returns:
        Two arrays of the broadcast shape, in the precision of the arguments; nan where the union or the segment
        has no length.

    >>> iou, coverage = iou_and_coverage(np.array([0.2, 0.6]), np.array([[0.2, 0.6], [0.5, 0.9]]))
    >>> iou.round(3).tolist(), coverage.round(3).tolist()
    ([1.0, 0.143], [1.0, 0.25])
    """
    starts, ends = segments[..., 0], segments[..., 1]
    shared = np.minimum(ends, others[..., 1]) - np.maximum(starts, others[..., 0])
    shared = np.maximum(shared, 0, dtype=shared.dtype)
    lengths = ends - starts
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = shared / (others[..., 1] - others[..., 0] + lengths - shared)
        return iou, shared / lengths


def best_iou(segments: Array, others: Array) -> Array:
    """Highest intersection over union of each segment with one of the others.

    Args:
        segments: (..., 2) start and end.
        others: (n, 2).

    Returns:
        (...), 0 if there are no others.
    """
    out: Array = iou_and_coverage(segments, _leading(others, segments.ndim))[0].max(0, initial=0)
    return out


def best_coverage(segments: Array, others: Array) -> Array:
    """Largest fraction of each segment that one of the others covers; shapes as in ``best_iou``."""
    out: Array = iou_and_coverage(segments, _leading(others, segments.ndim))[1].max(0, initial=0)
    return out


def _leading(others: Array, ndim: int) -> Array:
    """Broadcast along a first axis: NumPy is slow if the last axis is short, and few segments are annotated."""
    return others.reshape(len(others), *(1,) * (ndim - 1), 2)


def hull_iou(segments: Array, others: Array) -> Array:
    """Intersection over the hull of both segments, which grounding is scored by: negative if they are apart.

    Args:
        segments, others: (..., 2) start and end; the leading axes are broadcast.
    """
    inner = np.minimum(segments[..., 1], others[..., 1]) - np.maximum(segments[..., 0], others[..., 0])
    hull = np.maximum(segments[..., 1], others[..., 1]) - np.minimum(segments[..., 0], others[..., 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        out: Array = inner / hull
    return out


def regression_targets(proposals: Array, targets: Array) -> Array:
    """Offsets from each proposal to the target segment in the same row.

    Args:
        proposals, targets: (n, 2) start and end.

    Returns:
        (n, 2) float64: shift of the centre in lengths of the proposal, and logarithm of the ratio of the lengths.
    """
    lengths = proposals[:, 1] - proposals[:, 0]
    shift = (targets.mean(1) - proposals.mean(1)) / lengths
    out: Array = np.stack((shift, np.log((targets[:, 1] - targets[:, 0]) / lengths)), 1)
    return out
