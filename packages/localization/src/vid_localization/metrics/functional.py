"""Metrics of temporal segments as pure functions over flat arrays.

Arrays hold the segments of all videos, each with the number of its group (a video, or a class in a video), as
``vidcore.matching`` takes them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from vid_localization.overlaps import hull_iou, iou_and_coverage
from vidcore import matching
from vidcore.matching import blocks, class_average_precision
from vidcore.typing import Array

__all__ = [
    "AverageRecall",
    "average_recall",
    "detection_average_precision",
    "grounding_recall",
    "interpolated_average_precision",
    "match",
    "touching",
]

PERCENTAGES = 100
"""Points of the curve of average recall."""


@frozen(eq=False)
class AverageRecall:
    """Recall as a function of the number of proposals."""

    recall: Array
    """(thresholds, 100) at 1 % to 100 % of the limit."""
    average: Array
    """(100,) mean over the thresholds."""
    proposals: Array
    """(100,) proposals per video."""

    @property
    def auc(self) -> float:
        """Area under ``average`` over ``proposals``, in percent of the largest possible area."""
        steps = np.diff(self.proposals)
        area = (steps * (self.average[1:] + self.average[:-1]) / 2).sum()
        return float(100 * area / self.proposals[-1]) if self.proposals[-1] > 0 else 0.0


def average_recall(
    proposals: Array,
    scores: Array,
    videos: Array,
    truth: Array,
    truth_videos: Array,
    num_videos: int,
    thresholds: Sequence[float],
    max_average_proposals: float | None = None,
) -> AverageRecall:
    """Average recall of proposals against their average number (ActivityNet's proposal task).

    Each video keeps its best proposals, in proportion to their number, so that the mean over all videos is the limit;
    recall is measured with 1 % to 100 % of these. Segments are compared in float32, as published.

    Args:
        proposals: (n, 2) start and end.
        scores: (n,) only their order in a video matters.
        videos: (n,) index of the video of each, below ``num_videos``.
        truth: (m, 2) true segments.
        truth_videos: (m,).
        num_videos: number of videos, including those without proposals.
        thresholds: least intersection over union.
        max_average_proposals: the limit, in proposals per video; default: all proposals.
    """
    order = np.lexsort((-scores, videos))
    proposals, videos = proposals[order].astype(np.float32), videos[order]
    truth = truth.astype(np.float32)
    counts = np.bincount(videos, minlength=num_videos)
    limit = len(proposals) / max(num_videos, 1) if max_average_proposals is None else max_average_proposals
    kept = np.minimum((counts * (limit * num_videos / max(len(proposals), 1))).astype(np.int64), counts)
    total = int(kept.sum())
    shares = np.arange(1, PERCENTAGES + 1) / PERCENTAGES * (limit * num_videos / max(total, 1))
    numbers = np.minimum((kept[:, None] * shares).astype(np.int64), kept[:, None])  # (videos, 100)

    never = len(proposals) + 1
    ranks = np.full((len(thresholds), len(truth)), never)
    for target, widths, rank, place in blocks(truth_videos, counts, kept):
        iou = iou_and_coverage(truth[target].repeat(widths, 0), proposals[place])[0]
        starts = np.cumsum(widths) - widths
        for row, threshold in zip(ranks, thresholds, strict=True):
            hit = np.where(iou >= np.float64(threshold), rank + 1, never)
            row[target] = np.minimum.reduceat(hit, starts)
    allowed = numbers[truth_videos]  # (truth, 100)
    recall = np.stack([(row[:, None] <= allowed).mean(0) if len(truth) else np.zeros(PERCENTAGES) for row in ranks])
    return AverageRecall(recall, recall.mean(0), shares * (total / max(num_videos, 1)))


def match(segments: Array, groups: Array, truth: Array, truth_groups: Array, thresholds: Sequence[float]) -> Array:
    """Match predictions with true segments, each of which is matched at most once.

    Predictions take turns in the given order. Each matches the true segment of its group that it overlaps most among
    those that are free and that it overlaps by at least the threshold.

    Args:
        segments: (n, 2) predicted start and end, best first.
        groups: (n,) non-negative numbers of the groups.
        truth: (m, 2) true segments.
        truth_groups: (m,).
        thresholds: least intersection over union.

    Returns:
        (thresholds, n) bool: predictions that are matched.
    """
    return matching.match(
        groups,
        truth_groups,
        lambda p, t: iou_and_coverage(truth[t], segments[p])[0].astype(np.float32),
        thresholds,
    )


def touching(segments: Array, groups: Array, others: Array, other_groups: Array) -> Array:
    """Which segments intersect one of the others of their group.

    Args:
        segments: (n, 2) start and end.
        groups: (n,) non-negative numbers of the groups.
        others: (m, 2).
        other_groups: (m,).

    Returns:
        (n,) bool.
    """
    found = np.zeros(len(segments), bool)
    if not len(segments) or not len(others):
        return found
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups, minlength=other_groups.max() + 1)
    for other, widths, _, place in blocks(other_groups, counts, counts):
        near, theirs = order[place], others[other.repeat(widths)]
        shared = np.minimum(segments[near, 1], theirs[:, 1]) - np.maximum(segments[near, 0], theirs[:, 0])
        found[near[shared > 0]] = True
    return found


def interpolated_average_precision(precision: Array, recall: Array) -> float:
    """Area under the highest precision at each recall or above.

    Args:
        precision, recall: (n,) in ascending order of recall.

    >>> interpolated_average_precision(np.array([1.0, 0.5]), np.array([0.5, 1.0]))
    0.75
    """
    best = np.maximum.accumulate(np.asarray(precision, np.float64)[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * best).sum())


def detection_average_precision(
    segments: Array,
    scores: Array,
    labels: Array,
    videos: Array,
    truth: Array,
    truth_labels: Array,
    truth_videos: Array,
    thresholds: Sequence[float],
    num_classes: int | None = None,
    excused: Array | None = None,
) -> Array:
    """Average precision of every class (ActivityNet's detection task).

    Args:
        segments: (n, 2) predicted start and end.
        scores: (n,).
        labels: (n,) class numbers; predictions of other classes are ignored.
        videos: (n,) indices of videos, including those without true segments.
        truth: (m, 2) true segments.
        truth_labels, truth_videos: (m,).
        thresholds: least intersection over union.
        num_classes: number of classes; default: the highest true label plus one.
        excused: (n,) bool: predictions that are ignored unless they are correct.

    Returns:
        (thresholds, classes) float64; 0 for classes without predictions, nan for classes without true segments.
    """
    return class_average_precision(
        scores,
        labels,
        videos,
        truth_labels,
        truth_videos,
        lambda p, t: iou_and_coverage(truth[t], segments[p])[0].astype(np.float32),
        thresholds,
        num_classes,
        excused,
    )


def grounding_recall(predictions: Array, queries: Array, truth: Array, ks: Sequence[int], threshold: float) -> Array:
    """Fraction of queries for which one of the first k predicted segments is a hit.

    Args:
        predictions: (n, 2) start and end, best first within a query.
        queries: (n,) index of the query of each.
        truth: (m, 2) the true segment of every query.
        ks: numbers of predictions.
        threshold: a prediction is a hit if ``hull_iou`` with the true segment is above it.

    Returns:
        (len(ks),) float64; nan without queries.
    """
    order = np.argsort(queries, kind="stable")
    predictions, queries = predictions[order], queries[order]
    rank = np.arange(len(queries)) - np.searchsorted(queries, queries)
    hit = hull_iou(predictions, truth[queries]) > threshold
    best = np.full(len(truth), np.inf)  # inf: no hit
    np.minimum.at(best, queries[hit], rank[hit] + 1)
    return np.array([(best <= k).mean() if len(truth) else np.nan for k in ks])
