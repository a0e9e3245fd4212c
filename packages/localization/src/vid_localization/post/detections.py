"""Suppression of detections within each class, and voting."""

from __future__ import annotations

import numpy as np

from vid_localization.overlaps import iou_and_coverage
from vid_localization.post.suppression import soft_picks
from vidcore.typing import Array

__all__ = ["nms_by_class", "suppress_by_class", "vote"]


def suppress_by_class(
    segments: Array,
    scores: Array,
    labels: Array,
    sigma: float,
    count: int,
    min_score: float = 0.0,
    voting_threshold: float | None = None,
) -> tuple[Array, Array, Array]:
    """The best detections of a video after soft suppression (arXiv:1704.04503) within each class.

    Args:
        segments: (n, 2) float64 start and end, in any unit.
        scores: (n,) float64.
        labels: (n,) int64 classes.
        sigma: a score is multiplied by exp(-overlap^2 / sigma) for every better segment of its class.
        count: largest number of detections.
        min_score: least score after suppression.
        voting_threshold: see ``vote``; default: segments do not move.

    Returns:
        Segments (m, 2), lowered scores (m,) and labels (m,), best first.

    >>> segments = np.array([[0.0, 4.0], [0.0, 4.0], [0.0, 4.0]])
    >>> _, scores, labels = suppress_by_class(segments, np.array([0.9, 0.8, 0.7]), np.array([0, 0, 1]), 0.5, 3)
    >>> scores.round(3).tolist(), labels.tolist()
    ([0.9, 0.7, 0.108], [0, 1, 0])
    """
    if not len(segments):
        return segments, scores, labels
    # shift classes apart in time, so that segments of different classes do not overlap
    first = segments.min()
    apart = segments - first + (labels * (segments.max() - first + 1))[:, None]
    picked, lowered = soft_picks(apart, scores, sigma, 0.0, 0.0, count)
    picked, lowered = picked[lowered >= min_score], lowered[lowered >= min_score]
    found = segments[picked]
    if voting_threshold is not None:
        found = vote(apart[picked], apart, scores, voting_threshold) + (segments[picked] - apart[picked])
    return found, lowered, labels[picked]


def vote(segments: Array, voters: Array, scores: Array, threshold: float) -> Array:
    """Move each segment to the mean of the voters it overlaps, weighted by overlap and score (arXiv:1505.01749).

    Args:
        segments: (m, 2) float64.
        voters: (n, 2) float64; every segment is one of them.
        scores: (n,) scores of the voters.
        threshold: least overlap of voters that count.

    Returns:
        (m, 2) float64.
    """
    overlap, _ = iou_and_coverage(segments[:, None], voters)
    weights = np.where(overlap >= threshold, overlap * scores, 0.0)
    out: Array = weights @ voters / weights.sum(1, keepdims=True)
    return out


def nms_by_class(segments: Array, labels: Array, threshold: float) -> Array:
    """Indices of the segments kept when those that overlap a better one of their class are dropped.

    Args:
        segments: (n, 2) float64 start and end, best first.
        labels: (n,) classes.
        threshold: largest overlap with a better segment.

    >>> segments = np.array([[0.0, 4.0], [0.0, 3.0], [0.0, 3.0], [3.5, 9.0]])
    >>> nms_by_class(segments, np.array([0, 0, 1, 0]), 0.2).tolist()
    [0, 2, 3]
    """
    kept, left = [], np.arange(len(segments))
    while len(left):
        best, left = left[0], left[1:]
        kept.append(best)
        overlap, _ = iou_and_coverage(segments[left], segments[best])
        left = left[~((labels[left] == labels[best]) & (overlap > threshold))]
    return np.array(kept, np.int64)
