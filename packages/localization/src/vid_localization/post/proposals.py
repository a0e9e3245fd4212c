"""Candidate proposals between likely starts and ends (BSN, arXiv:1806.02964, section 3.3)."""

from __future__ import annotations

import numpy as np

from vid_localization.overlaps import iou_and_coverage
from vidcore.errors import UserError
from vidcore.typing import Array

__all__ = ["boundary_candidates", "generate_proposals"]


def boundary_candidates(probability: Array, share: float = 0.5) -> Array:
    """Positions that may be boundaries: local peaks, and those above a fraction of the highest probability.

    Args:
        probability: (T,).
        share: fraction of the highest probability.

    Returns:
        (T,) bool. The first and last position are never peaks.
    """
    found: Array = probability > share * probability.max(initial=0)
    found[1:-1] |= (probability[1:-1] > probability[:-2]) & (probability[1:-1] > probability[2:])
    return found


def generate_proposals(start: Array, end: Array, segments: Array | None = None, peak_threshold: float = 0.5) -> Array:
    """Pair every likely start with every later likely end; the first position is always a start, the last an end.

    Args:
        start, end: (T,) probabilities of positions.
        segments: (n, 2) true segments as fractions of the video, for training the next stage.
        peak_threshold: see ``share`` of ``boundary_candidates``.

    Returns:
        (n, 5) float64, highest score first (of equal ones the last in the video): start and end as fractions (middles
        of positions), start score, end score and their product. With ``segments`` (n, 7): also ``best_iou`` and
        ``best_coverage`` with them.

    Raises:
        UserError: ``start`` and ``end`` have different shapes.
    """
    start, end = np.asarray(start, np.float64), np.asarray(end, np.float64)
    if start.shape != end.shape or start.ndim != 1 or not len(start):
        raise UserError(
            f"probabilities of starts and ends must have the same length, got {start.shape} and {end.shape}"
        )
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
