"""Soft suppression of overlapping proposals (Bodla et al. 2017, as in BSN and BMN)."""

from __future__ import annotations

import numpy as np

from vidcore.errors import UserError
from vidcore.typing import Array

__all__ = ["post_processing", "soft_nms", "soft_picks"]


def soft_picks(
    segments: Array,
    scores: Array,
    alpha: float,
    low_threshold: float,
    high_threshold: float,
    count: int,
) -> tuple[Array, Array]:
    """Pick the best segment again and again; each one lowers the scores of the segments that it overlaps.

    A score is multiplied by exp(-overlap^2 / alpha) if the overlap with the picked segment is above
    low + (high - low) * width of the picked segment.

    Args:
        segments: (n, 2) float64 start and end, in units of the video's length.
        scores: (n,) float64.
        alpha: width of the Gaussian, above 0.
        low_threshold, high_threshold: overlap above which scores are lowered, for a picked segment of length 0 and
            of the whole video.
        count: number of segments to pick.

    Returns:
        (min(n, count),) int64 indices in the order of picking; (min(n, count),) float64 their lowered scores.

    Raises:
        UserError: ``count`` is less than 1.
    """
    if count < 1:
        raise UserError(f"segments of a video (post_process_top_k) must be at least 1, got {count}")
    order = np.argsort(-scores, kind="stable")
    starts, ends, scores = segments[order, 0], segments[order, 1], scores[order]
    lengths = ends - starts
    picked, lowered = np.empty(min(len(scores), count), np.int64), np.empty(min(len(scores), count))
    for row in range(len(picked)):
        best = int(scores.argmax())
        start, end, length = starts[best], ends[best], lengths[best]
        picked[row], lowered[row] = order[best], scores[best]
        scores[best] = -np.inf  # never picked again, whatever it is multiplied by
        shared = np.minimum(ends, end)
        shared -= np.maximum(starts, start)
        near = (shared > 0).nonzero()[0]  # the factor of all others is exp(0)
        inside = shared[near]
        overlap = inside / (lengths[near] + (length - inside))
        lower = overlap > low_threshold + (high_threshold - low_threshold) * length
        scores[near[lower]] *= np.exp(overlap[lower] ** 2 / -alpha)
    return picked, lowered


def soft_nms(proposals: Array, alpha: float, low_threshold: float, high_threshold: float, top_k: int) -> Array:
    """Soft suppression of the rows of a table, see ``soft_picks``.

    Args:
        proposals: (n, >= 3) start, end, ..., score, in units of the video's length.
        alpha, low_threshold, high_threshold: see ``soft_picks``.
        top_k: number of proposals; as published, one more is returned.

    Returns:
        (min(n, top_k + 1), 3) float64 start, end and lowered score, in the order of picking.

    Raises:
        UserError: ``alpha`` is not positive, or the shape is wrong.
    """
    proposals = np.asarray(proposals, np.float64)
    if proposals.ndim != 2 or proposals.shape[1] < 3 or not alpha > 0:
        raise UserError(f"soft_nms needs rows of start, end, score and alpha above 0, got {proposals.shape}, {alpha}")
    picked, scores = soft_picks(proposals[:, :2], proposals[:, -1], alpha, low_threshold, high_threshold, top_k + 1)
    return np.column_stack((proposals[picked, :2], scores))


def post_processing(proposals: Array, alpha: float, low_threshold: float, high_threshold: float, top_k: int) -> Array:
    """The final proposals of a video: soft suppression, unless there is only one, then the best ``top_k``, clipped.

    Args:
        proposals: (n, >= 3) start, end, ..., score, in units of the video's length.
        alpha, low_threshold, high_threshold: see ``soft_picks``.
        top_k: largest number of proposals.

    Returns:
        (<= top_k, 3) float64 start, end and score, best first; starts and ends within [0, 1].

    Raises:
        UserError: ``top_k`` is less than 1, or like ``soft_nms``.
    """
    rows = np.asarray(proposals, np.float64)
    if top_k < 1:
        raise UserError(f"proposals of a video (post_process_top_k) must be at least 1, got {top_k}")
    if len(rows) > 1:
        rows = soft_nms(rows, alpha, low_threshold, high_threshold, top_k)
    rows = rows[np.argsort(-rows[:, -1], kind="stable")][:top_k]
    return np.concatenate((rows[:, :2].clip(0, 1), rows[:, -1:]), 1)
