"""Candidate proposals between likely starts and ends (BSN, arXiv:1806.02964, section 3.3)."""

from __future__ import annotations

import numpy as np

from vid_localization.overlaps import iou_and_coverage
from vidcore.errors import UserError
from vidcore.typing import Array

__all__ = ["boundary_candidates", "generate_proposals"]


def boundary_candidates(probability: Array, share: float = 0.5) -> Array:
    """Where a boundary may be: local peaks, and what exceeds a share of the highest probability.

    Args:
        probability: (T,).
        share: of the maximum.

    Returns:
        (T,) bool. The first and last position are no peaks.
    """
    found: Array = probability > share * probability.max(initial=0)
    found[1:-1] |= (probability[1:-1] > probability[:-2]) & (probability[1:-1] > probability[2:])
    return found


def generate_proposals(start: Array, end: Array, segments: Array | None = None, peak_threshold: float = 0.5) -> Array:
    """Every likely start before every likely end; the first position always is a start, the last an end.

    Args:
        start, end: (T,) probabilities of positions.
        segments: (n, 2) true segments as fractions of the video, for training what comes next.
        peak_threshold: see ``boundary_candidates``.

    Returns:
        (n, 5) float64, by falling score (of equal ones the last in the video first): start and end as fractions
        (middles of positions), start score, end score and their product. With ``segments`` (n, 7): also the
        highest overlap with one of them, and the highest share of the proposal that one of them covers.

    Raises:
        UserError: the two are not of one length.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    if start.shape != end.shape or start.ndim != 1 or not len(start):
        raise UserError(f"probabilities of starts and ends must be of one length, got {start.shape} and {end.shape}")
    starts, ends = boundary_candidates(start, peak_threshold), boundary_candidates(end, peak_threshold)
    starts[0] = ends[-1] = True
    position = np.arange(len(start))
    last, first = np.nonzero(ends[:, None] & starts & (position < position[:, None]))
    bounds = (np.stack((first, last), 1) + 0.5) / len(start)
    scores = np.stack((start[first], end[last]), 1)
    rows = np.concatenate((bounds, scores, scores.prod(1, keepdims=True)), 1)
    rows = rows[np.argsort(rows[:, 4], kind="stable")[::-1]]
    if segments is None:
        return rows
    best = (o.max(1, initial=0) for o in iou_and_coverage(rows[:, None, :2], np.asarray(segments, np.float64)))
    return np.concatenate((rows, np.stack(tuple(best), 1)), 1)
