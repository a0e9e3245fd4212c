"""Metrics of temporal segments as pure functions over flat arrays.

No function loops over videos or proposals in Python. Arrays hold the segments of all videos, each with the number of
its group (a video, or a class in a video). Pairs within a group are compared block by block, so that memory grows only
with the number of proposals.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from attrs import frozen

from vid_localization.overlaps import hull_iou, iou_and_coverage
from vidcore.typing import Array

__all__ = [
    "AverageRecall",
    "average_precision",
    "average_recall",
    "detection_average_precision",
    "grounding_recall",
    "interpolated_average_precision",
    "match",
    "touching",
]

BLOCK = 1 << 18
"""Pairs of a proposal and a true segment that are compared at once."""
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
    for target, widths, rank, place in _blocks(truth_videos, counts, kept):
        iou = iou_and_coverage(truth[target].repeat(widths, 0), proposals[place])[0]
        starts = np.cumsum(widths) - widths
        for row, threshold in zip(ranks, thresholds, strict=True):
            hit = np.where(iou >= np.float64(threshold), rank + 1, never)
            row[target] = np.minimum.reduceat(hit, starts)
    allowed = numbers[truth_videos]  # (truth, 100)
    recall = np.stack([(row[:, None] <= allowed).mean(0) if len(truth) else np.zeros(PERCENTAGES) for row in ranks])
    return AverageRecall(recall, recall.mean(0), shares * (total / max(num_videos, 1)))


def _blocks(groups: Array, counts: Array, kept: Array) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Pair true segments with the proposals of their group, ``BLOCK`` pairs at a time.

    Args:
        groups: (m,) groups of the true segments.
        counts: numbers of proposals of every group; proposals are sorted by group.
        kept: numbers of proposals of every group that are paired, the first.

    Yields:
        Indices of true segments whose group keeps proposals (n,), and numbers of these proposals (n,); rank of the
        proposal of every pair in its group, and its index among all proposals (pairs,).
    """
    starts = np.cumsum(counts) - counts
    target = np.flatnonzero(kept[groups])
    first, widths = starts[groups[target]], kept[groups[target]]
    block = (np.cumsum(widths) - widths) // BLOCK
    for part in np.split(np.arange(len(target)), np.flatnonzero(np.diff(block)) + 1):
        if len(part):
            wide = widths[part]
            rank = np.arange(wide.sum()) - (np.cumsum(wide) - wide).repeat(wide)
            yield target[part], wide, rank, first[part].repeat(wide) + rank


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
    found = np.zeros((len(thresholds), len(segments)), bool)
    if not len(segments) or not len(truth) or not len(thresholds):
        return found
    order = np.argsort(groups, kind="stable")
    counts = np.bincount(groups, minlength=truth_groups.max() + 1)
    lowest = min(thresholds)
    parts = []
    for target, widths, _, place in _blocks(truth_groups, counts, counts):
        prediction, target = order[place], target.repeat(widths)
        iou = iou_and_coverage(truth[target], segments[prediction])[0].astype(np.float32)
        near = iou >= np.float64(lowest)
        parts.append((prediction[near], target[near], iou[near]))
    if not parts:
        return found
    prediction, target, iou = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((-iou, prediction, truth_groups[target]))  # each prediction's best truth first
    prediction, target, iou = prediction[order], target[order], iou[order]
    for row, threshold in zip(found, thresholds, strict=True):
        enough = iou >= np.float64(threshold)
        _take(row, prediction[enough], target[enough], truth_groups[target[enough]])
    return found


def _take(found: Array, prediction: Array, target: Array, group: Array) -> None:
    """Match pairs, sorted by group and prediction: in each round the first prediction of every group takes its best."""
    taken = np.zeros(target.max(initial=-1) + 1, bool)
    while len(prediction):
        first = np.flatnonzero(np.diff(group, prepend=-1))
        found[prediction[first]] = taken[target[first]] = True
        left = ~found[prediction] & ~taken[target]
        prediction, target, group = prediction[left], target[left], group[left]


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
    for other, widths, _, place in _blocks(other_groups, counts, counts):
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


def average_precision(correct: Array, truths: int, excused: Array | None = None) -> Array:
    """Average precision per threshold.

    Args:
        correct: (thresholds, n) bool: correct predictions, best score first.
        truths: number of true segments.
        excused: (n,) bool: predictions that are ignored unless they are correct.

    Returns:
        (thresholds,) float64; 0 if there are no true segments.
    """
    if not truths or not correct.shape[1]:
        return np.zeros(len(correct))
    counted = np.ones_like(correct) if excused is None else correct | ~excused
    precision = correct.cumsum(1) / np.maximum(counted.cumsum(1), 1)
    best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    out: Array = (best * correct).sum(1) / truths  # every correct prediction raises recall by 1 / truths
    return out


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
    classes = int(truth_labels.max(initial=-1)) + 1 if num_classes is None else num_classes
    truths = np.bincount(truth_labels, minlength=classes)
    order = np.lexsort((-scores, labels))
    order = order[(labels[order] >= 0) & (labels[order] < classes)]
    labels = labels[order].astype(np.int64)
    groups = videos[order].astype(np.int64) * classes + labels
    # consecutive numbers: few of all pairs of a video and a class occur
    known, numbers = np.unique(truth_videos.astype(np.int64) * classes + truth_labels, return_inverse=True)
    place = np.searchsorted(known, groups)
    inside = np.flatnonzero(known[np.minimum(place, len(known) - 1)] == groups) if len(known) else np.zeros(0, np.int64)
    correct = np.zeros((len(thresholds), len(order)), bool)
    correct[:, inside] = match(segments[order][inside], place[inside], truth, numbers, thresholds)
    bounds = np.searchsorted(labels, np.arange(classes + 1))
    out = np.full((len(thresholds), classes), np.nan)
    for c in np.flatnonzero(truths):
        rows = slice(bounds[c], bounds[c + 1])
        out[:, c] = average_precision(
            correct[:, rows], int(truths[c]), None if excused is None else excused[order][rows]
        )
    return out


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
