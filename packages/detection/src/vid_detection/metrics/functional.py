"""Average precision of boxes in frames and of tubes in videos, as pure functions over flat arrays.

Arrays hold the boxes of all frames, each with the number of its frame. Pairs of boxes are compared within a frame only
(``vidcore.matching``), so that time and memory grow with the number of boxes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from attrs import frozen

from vid_detection.overlaps import iou
from vidcore.matching import average_precision, by_class, near, number_groups
from vidcore.typing import Array

__all__ = ["ClassScores", "Ranked", "best_of_frames", "rank_classes", "scores_of"]


@frozen(eq=False)
class Ranked:
    """The detections of a class, best first, and what became of them."""

    rows: Array
    """(n,) index of each detection."""
    correct: Array
    """(n,) bool: it matches a true box."""
    truths: int
    """Number of true boxes of the class."""
    missed: Array
    """Indices of the true boxes that no detection matches."""

    @property
    def average_precision(self) -> float:
        """Area under the highest precision at each recall or above; nan without true boxes."""
        return float(average_precision(self.correct[None], self.truths)[0]) if self.truths else float("nan")


@frozen(eq=False)
class ClassScores:
    """Average precision of every class."""

    ap: Array
    """(classes,) float64; nan for classes without true boxes."""
    truths: Array
    """(classes,) int64: number of true boxes."""
    detections: Array
    """(classes,) int64."""


def rank_classes(
    boxes: Array,
    frames: Array,
    scores: Array,
    truth: Array,
    truth_frames: Array,
    truth_labels: Array,
    num_classes: int,
    threshold: float = 0.5,
    *,
    labels: Array | None = None,
) -> Iterator[Ranked]:
    """Rank the detections of each class, and match them with true boxes of their frame and class.

    A detection belongs to the true box that it overlaps most. It is correct if it overlaps this box by at least the
    threshold, and no better detection does; otherwise it is wrong, also if another true box is free. Detections with
    equal scores keep their order.

    Args:
        boxes: (n, 4) detections.
        frames: (n,) non-negative numbers of their frames.
        scores: (n, classes), where -inf means that the box is not a detection of the class; or (n,) with ``labels``.
        truth: (m, 4); a box with several classes is listed once for each.
        truth_frames: (m,).
        truth_labels: (m,) class numbers.
        num_classes: number of classes.
        threshold: least intersection over union.
        labels: (n,) class numbers of detections that have one class each.

    Yields:
        A ``Ranked`` for class 0, 1, ...
    """
    groups, truth_groups = frames, truth_frames
    members, member_bounds = np.zeros(0, np.int64), np.zeros(num_classes + 1, np.int64)
    if labels is not None:
        members, member_bounds = by_class(labels, num_classes)
        groups, truth_groups = number_groups(
            frames.astype(np.int64) * num_classes + labels, truth_frames.astype(np.int64) * num_classes + truth_labels
        )
    columns, true_columns = np.ascontiguousarray(boxes.T), np.ascontiguousarray(truth.T)  # gathered faster than rows
    box, target, overlap = near(
        groups, truth_groups, lambda p, t: iou(columns[:, p].T, true_columns[:, t].T), threshold
    )
    several = np.bincount(box, minlength=len(boxes))[box] > 1
    choices = np.flatnonzero(several)[::-1]  # of equal overlaps, the first true box comes last
    rising = np.concatenate((np.flatnonzero(~several), choices[np.argsort(overlap[choices], kind="stable")]))
    box, target = box[rising], target[rising]
    pairs_by_class, bounds = by_class(truth_labels[target], num_classes)
    truths, true_bounds = by_class(truth_labels, num_classes)
    place = np.full(len(boxes), -1)
    first = np.zeros(len(truth), np.int64)
    hit = np.zeros(len(truth), bool)
    for c in range(num_classes):
        if labels is None:
            rows = np.flatnonzero(scores[:, c] > -np.inf)
            values = scores[rows, c]
        else:
            rows = members[member_bounds[c] : member_bounds[c + 1]]
            values = scores[rows]
        rows = rows[np.argsort(-values, kind="stable")]
        place[rows] = np.arange(len(rows))
        pairs = pairs_by_class[bounds[c] : bounds[c + 1]]
        pairs = pairs[place[box[pairs]] >= 0]
        best = np.full(len(rows), -1)
        best[place[box[pairs]]] = target[pairs]  # the last one that is written overlaps most
        place[rows] = -1
        near_truth = np.flatnonzero(best >= 0)[::-1]
        matched = best[near_truth]
        first[matched] = near_truth  # the last one that is written has the highest score
        correct = np.zeros(len(rows), bool)
        correct[first[matched]] = hit[matched] = True
        true = truths[true_bounds[c] : true_bounds[c + 1]]
        yield Ranked(rows, correct, len(true), true[~hit[true]])


def scores_of(ranked: Iterable[Ranked]) -> ClassScores:
    """Return the average precision of every class."""
    found = [(r.average_precision, r.truths, len(r.rows)) for r in ranked]
    ap, truths, detections = zip(*found, strict=True) if found else ((), (), ())
    return ClassScores(np.array(ap, np.float64), np.array(truths, np.int64), np.array(detections, np.int64))


def best_of_frames(frames: Array, scores: Array, limit: int) -> Array:
    """Which scores are among the best of their frame.

    Args:
        frames: (n,) non-negative numbers of frames.
        scores: (n, classes), or (n,).
        limit: number of scores in a frame.

    Returns:
        bool, of the shape of ``scores``.
    """
    flat = scores[:, None] if scores.ndim == 1 else scores
    kept = np.ones(flat.shape, bool)
    order, starts = by_class(frames, int(frames.max(initial=-1)) + 1)
    counts = np.diff(starts)
    starts = starts[:-1]
    for count in np.unique(counts[counts * flat.shape[1] > limit]).tolist():  # frames with as many boxes at once
        rows = order[starts[counts == count][:, None] + np.arange(count)]
        values = flat[rows].reshape(len(rows), -1)
        worst = np.argpartition(-values, limit - 1, axis=1)[:, limit:]
        mask = np.ones(values.shape, bool)
        np.put_along_axis(mask, worst, False, axis=1)
        kept[rows] = mask.reshape(len(rows), count, -1)
    return kept.reshape(scores.shape)
