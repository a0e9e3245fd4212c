"""Matching predictions with truth, for metrics of segments, boxes and tubes.

Entries of all videos or frames are in flat arrays, each with the number of its group (a video, a frame, a class in a
video). No function loops over entries in Python, and pairs within a group are compared block by block, so that memory
grows only with the number of entries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from vidcore.typing import Array

__all__ = [
    "average_precision",
    "blocks",
    "by_class",
    "class_average_precision",
    "match",
    "near",
    "number_groups",
    "take_turns",
]

BLOCK = 1 << 18
"""Pairs that are compared at once."""

Overlap = Callable[[Array, Array], Array]
"""(indices of predictions (n,), indices of truths (n,)) -> (n,) overlap of each pair."""


def blocks(groups: Array, counts: Array, kept: Array) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Pair truths with the predictions of their group, ``BLOCK`` pairs at a time.

    Args:
        groups: (m,) groups of the truths.
        counts: numbers of predictions of every group; predictions are sorted by group.
        kept: numbers of predictions of every group that are paired, the first.

    Yields:
        Indices of truths whose group keeps predictions (n,), and numbers of these predictions (n,); rank of the
        prediction of every pair in its group, and its index among all predictions (pairs,).
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


def number_groups(keys: Array, truth_keys: Array) -> tuple[Array, Array]:
    """Number groups by their keys, of which few occur: those of truths from 0, and all others by one more number.

    Args:
        keys: (n,) non-negative integers, of predictions.
        truth_keys: (m,).

    Returns:
        (n,) and (m,) int64 numbers of the groups.
    """
    highest = max(int(keys.max(initial=0)), int(truth_keys.max(initial=0)))
    if highest < 16 * (len(keys) + len(truth_keys)):  # a table of all keys is faster than searching
        occurs = np.zeros(highest + 1, bool)
        occurs[truth_keys] = True
        known = np.flatnonzero(occurs)
        numbers = np.full(highest + 1, len(known), np.int32)
        numbers[known] = np.arange(len(known))
        return numbers[keys].astype(np.int64), numbers[truth_keys].astype(np.int64)
    known, truth_groups = np.unique(truth_keys, return_inverse=True)
    if not len(known):
        return np.zeros(len(keys), np.int64), truth_groups
    place = np.searchsorted(known, keys)
    return np.where(known[np.minimum(place, len(known) - 1)] == keys, place, len(known)), truth_groups


def by_class(labels: Array, num_classes: int) -> tuple[Array, Array]:
    """Return the indices of all entries by class, and where each class begins and ends: (n,) and (classes + 1,) int64.

    Args:
        labels: (n,) class numbers from 0, below ``num_classes``.
        num_classes: number of classes.
    """
    small = labels.astype(np.uint16) if num_classes < 1 << 16 else labels  # sorted faster
    bounds = np.concatenate(([0], np.cumsum(np.bincount(labels, minlength=num_classes))))
    return np.argsort(small, kind="stable"), bounds


def near(groups: Array, truth_groups: Array, overlap: Overlap, threshold: float) -> tuple[Array, Array, Array]:
    """Return all pairs of a group that overlap by at least the threshold.

    Args:
        groups: (n,) non-negative numbers of the groups of predictions.
        truth_groups: (m,).
        overlap: of pairs; it is called with one block of them at a time.
        threshold: least overlap.

    Returns:
        Indices of predictions and of truths, in ascending order of truths, and overlaps: three arrays (pairs,).
    """
    parts = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    if len(groups) and len(truth_groups):
        last = truth_groups.max()
        order = np.flatnonzero(groups <= last)
        order = order[np.argsort(groups[order])]
        counts = np.bincount(groups[order], minlength=last + 1)
        for target, widths, _, place in blocks(truth_groups, counts, counts):
            prediction, target = order[place], target.repeat(widths)
            found = overlap(prediction, target)
            enough = found >= threshold
            parts.append((prediction[enough], target[enough], found[enough]))
    prediction, target, found = (np.concatenate(column) for column in zip(*parts, strict=True))
    return prediction, target, found


def match(groups: Array, truth_groups: Array, overlap: Overlap, thresholds: Sequence[float]) -> Array:
    """Match predictions with truths, each of which is matched at most once.

    Predictions take turns in the given order. Each matches the truth of its group that it overlaps most among those
    that are free and that it overlaps by at least the threshold.

    Args:
        groups: (n,) non-negative numbers of the groups of predictions, which are best first.
        truth_groups: (m,).
        overlap: of pairs.
        thresholds: least overlaps.

    Returns:
        (thresholds, n) bool: predictions that are matched.
    """
    found = np.zeros((len(thresholds), len(groups)), bool)
    if not len(thresholds):
        return found
    prediction, target, shared = near(groups, truth_groups, overlap, min(thresholds))
    for row, threshold in zip(found, thresholds, strict=True):
        enough = shared >= np.float64(threshold)
        row[take_turns(prediction[enough], target[enough], shared[enough], groups[prediction[enough]])[0]] = True
    return found


def take_turns(prediction: Array, target: Array, overlap: Array, groups: Array) -> tuple[Array, Array]:
    """Match pairs: in each round the first prediction of every group takes its best truth that is free.

    Args:
        prediction, target: (pairs,) indices; predictions with lower indices come first.
        overlap: (pairs,).
        groups: (pairs,) non-negative numbers of the groups.

    Returns:
        Indices of the matched predictions and of their truths.
    """
    order = np.lexsort((-overlap, prediction, groups))
    prediction, target, groups = prediction[order], target[order], groups[order]
    found = np.zeros(prediction.max(initial=-1) + 1, bool)
    taken = np.zeros(target.max(initial=-1) + 1, bool)
    matched = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    while len(prediction):
        first = np.flatnonzero(np.diff(groups, prepend=-1))
        matched.append((prediction[first], target[first]))
        found[prediction[first]] = taken[target[first]] = True
        left = ~found[prediction] & ~taken[target]
        prediction, target, groups = prediction[left], target[left], groups[left]
    predictions, targets = (np.concatenate(column) for column in zip(*matched, strict=True))
    return predictions, targets


def average_precision(correct: Array, truths: int, excused: Array | None = None) -> Array:
    """Area under the highest precision at each recall or above, per threshold.

    Args:
        correct: (thresholds, n) bool: correct predictions, best score first.
        truths: number of truths.
        excused: (n,) bool: predictions that are ignored unless they are correct.

    Returns:
        (thresholds,) float64; 0 if there are no truths.
    """
    if not truths or not correct.shape[1]:
        return np.zeros(len(correct))
    counted = np.ones_like(correct) if excused is None else correct | ~excused
    precision = correct.cumsum(1) / np.maximum(counted.cumsum(1), 1)
    best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
    out: Array = (best * correct).sum(1) / truths  # every correct prediction raises recall by 1 / truths
    return out


def class_average_precision(
    scores: Array,
    labels: Array,
    places: Array,
    truth_labels: Array,
    truth_places: Array,
    overlap: Overlap,
    thresholds: Sequence[float],
    num_classes: int | None = None,
    excused: Array | None = None,
    area: Callable[[Array, int, Array | None], Array] = average_precision,
) -> Array:
    """Average precision of every class, of predictions in videos or frames, which ``match`` matches with truths.

    Args:
        scores: (n,).
        labels: (n,) class numbers; predictions of other classes are ignored.
        places: (n,) numbers of videos or frames, including those without truths.
        truth_labels, truth_places: (m,).
        overlap: of pairs.
        thresholds: least overlaps.
        num_classes: number of classes; default: the highest true label plus one.
        excused: (n,) bool: predictions that are ignored unless they are correct.
        area: makes average precision of the correct predictions of a class.

    Returns:
        (thresholds, classes) float64; 0 for classes without predictions, nan for classes without truths.
    """
    classes = int(truth_labels.max(initial=-1)) + 1 if num_classes is None else num_classes
    truths = np.bincount(truth_labels, minlength=classes)
    order = np.argsort(-scores, kind="stable")
    order = order[(labels[order] >= 0) & (labels[order] < classes)]
    members, bounds = by_class(labels[order].astype(np.int64), classes)
    order = order[members]
    labels = labels[order].astype(np.int64)
    groups, truth_groups = number_groups(
        places[order].astype(np.int64) * classes + labels, truth_places.astype(np.int64) * classes + truth_labels
    )
    correct = match(groups, truth_groups, lambda p, t: overlap(order[p], t), thresholds)
    out = np.full((len(thresholds), classes), np.nan)
    for c in np.flatnonzero(truths[:classes]):
        rows = slice(bounds[c], bounds[c + 1])
        out[:, c] = area(correct[:, rows], int(truths[c]), None if excused is None else excused[order][rows])
    return out
