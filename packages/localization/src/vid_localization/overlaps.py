"""How much segments of a video have in common."""

from __future__ import annotations

import numpy as np

from vidcore.errors import UserError
from vidcore.typing import Array

__all__ = ["Array", "hull_overlap", "regression_targets", "temporal_iou", "temporal_overlaps"]


def temporal_overlaps(segments: Array, others: Array) -> tuple[Array, Array]:
    """Overlap of segments with others, by NumPy's rules of shapes.

    Args:
        segments: (..., 2) start and end.
        others: (..., 2).

    Returns:
        Intersection over union, and intersection over the length of ``segments``: both of the common shape,
        in the precision of the arguments. What has no length is nan.

    >>> iou, share = temporal_overlaps(np.array([0.2, 0.6]), np.array([[0.2, 0.6], [0.5, 0.9]]))
    >>> iou.round(3).tolist(), share.round(3).tolist()
    ([1.0, 0.143], [1.0, 0.25])
    """
    starts, ends = segments[..., 0], segments[..., 1]
    shared = np.minimum(ends, others[..., 1]) - np.maximum(starts, others[..., 0])
    shared = np.maximum(shared, 0, dtype=shared.dtype)
    lengths = ends - starts
    with np.errstate(divide="ignore", invalid="ignore"):
        iou = shared / (others[..., 1] - others[..., 0] + lengths - shared)
        return iou, shared / lengths


def temporal_iou(candidates: Array, targets: Array) -> tuple[Array, Array]:
    """Overlap of every target with every candidate.

    Args:
        candidates: (m, 2) start and end, or (2,) for one.
        targets: (n, 2).

    Returns:
        Intersection over union, and the covered share of each candidate: (n, m) float32, or (n,) for one
        candidate. nan where a union or a candidate has no length.

    Raises:
        UserError: the shapes are others.
    """
    candidates, targets = np.asarray(candidates), np.asarray(targets)
    if targets.shape[1:] != (2,) or candidates.shape[-1:] != (2,) or candidates.ndim > 2:
        raise UserError(
            f"segments must have shape (n, 2), candidates also (2,); got {targets.shape} and {candidates.shape}"
        )
    share, iou = temporal_overlaps(candidates, targets[:, None] if candidates.ndim == 2 else targets)[::-1]
    return iou.astype(np.float32), share.astype(np.float32)


def hull_overlap(segments: Array, others: Array) -> Array:
    """Intersection over the hull of both, as grounding scores it: negative where they are apart.

    Args:
        segments, others: (..., 2) start and end.
    """
    inner = np.minimum(segments[..., 1], others[..., 1]) - np.maximum(segments[..., 0], others[..., 0])
    hull = np.maximum(segments[..., 1], others[..., 1]) - np.minimum(segments[..., 0], others[..., 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        out: Array = inner / hull
    return out


def regression_targets(proposals: Array, truth: Array) -> Array:
    """Shift of the centre in lengths of the proposal, and logarithm of the growth of the length: (n, 2) float64."""
    lengths = proposals[:, 1] - proposals[:, 0]
    shift = (truth.mean(1) - proposals.mean(1)) / lengths
    out: Array = np.stack((shift, np.log((truth[:, 1] - truth[:, 0]) / lengths)), 1)
    return out
