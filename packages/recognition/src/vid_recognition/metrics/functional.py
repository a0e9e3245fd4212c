"""Metrics of recognition as functions on arrays.

Shapes: N samples, C classes. Scores may have any float dtype; sums are float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from vidcore.typing import Array

__all__ = [
    "average_precision",
    "best_thresholds",
    "confusion_matrix",
    "f1_scores",
    "get_weighted_score",
    "label_ranks",
    "mean_average_precision",
    "mean_class_accuracy",
    "mmit_mean_average_precision",
    "precision_recall_curve",
    "softmax",
    "top_k_accuracy",
    "top_k_classes",
]

Normalize = Literal["true", "pred", "all"] | None


def label_ranks(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Return the number of classes ranked above the true class of each sample; C if that is not ranked.

    Among equal scores, the class with the higher number ranks higher. A label outside of 0 to C - 1, or
    whose score is NaN, is not ranked.

    Args:
        scores: (N, C).
        labels: (N,) class numbers.

    Returns:
        (N,) int64.

    >>> label_ranks([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]], [1, 1]).tolist()
    [0, 2]
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    classes = scores.shape[1]
    valid = (labels >= 0) & (labels < classes)
    true = np.where(valid, labels, 0)[:, None]
    own = np.take_along_axis(scores, true, axis=1)
    above = ~(scores <= own)  # not ">": NaN ranks last, not first
    tied = (scores == own) & (np.arange(classes) > true)
    ranks: Array = np.where(valid, np.count_nonzero(above | tied, axis=1), classes)
    return ranks


def top_k_accuracy(scores: ArrayLike, labels: ArrayLike, topk: Sequence[int] = (1,)) -> list[float]:
    """Return, for each k, the fraction of samples whose class is among the k highest scores; see ``label_ranks``.

    Args:
        scores: (N, C).
        labels: (N,) class numbers.
        topk: the k, each at least 1, limited to C.

    >>> top_k_accuracy([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3]], [1, 2], (1, 2))
    [0.5, 1.0]
    """
    ranks, classes = label_ranks(scores, labels), np.asarray(scores).shape[1]
    return [float(np.mean(ranks < min(k, classes))) for k in topk]


def confusion_matrix(
    predictions: ArrayLike, labels: ArrayLike, normalize: Normalize = None, num_classes: int | None = None
) -> Array:
    """Count predictions by true class (rows) and predicted class (columns).

    Args:
        predictions: (N,) integers.
        labels: (N,) integers.
        normalize: None: counts, int64. ``true``: fractions of each row, ``pred``: of each column,
            ``all``: of all samples, float64; empty rows and columns are 0.
        num_classes: number of rows and columns; default: one for each class that occurs in
            labels or predictions, sorted.

    Raises ``TypeError`` if labels are not integers, ``ValueError`` for an unknown ``normalize``.

    >>> confusion_matrix(predictions=[0, 1, 1], labels=[0, 0, 1]).tolist()
    [[1, 1], [0, 1]]
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    for name, values in (("predictions", predictions), ("labels", labels)):
        if not np.issubdtype(values.dtype, np.integer):
            raise TypeError(f"{name} must be integers, got {values.dtype}")
    if normalize not in (None, "true", "pred", "all"):
        raise ValueError(f"normalize must be 'true', 'pred', 'all' or None, got {normalize!r}")
    if num_classes is None:
        both = np.concatenate([labels, predictions])
        occurring, numbers = np.unique(both, return_inverse=True)
        labels, predictions = numbers[: len(labels)], numbers[len(labels) :]
        num_classes = len(occurring)
    elif any(len(v) and not 0 <= v.min() <= v.max() < num_classes for v in (labels, predictions)):
        raise ValueError(f"labels and predictions must be within 0 to {num_classes - 1}")
    counts = np.bincount(labels.astype(np.int64) * num_classes + predictions, minlength=num_classes**2)
    matrix: Array = counts.reshape(num_classes, num_classes)
    if normalize is None:
        return matrix
    axis = {"true": 1, "pred": 0, "all": None}[normalize]
    fractions: Array = matrix / np.maximum(matrix.sum(axis, keepdims=True), 1)
    return fractions


def mean_class_accuracy(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the mean over classes of the accuracy on their samples.

    Classes that are only predicted, never true, count as 0; classes that do not occur are ignored.

    Args:
        scores: (N, C), or (N,) predicted classes.
        labels: (N,) class numbers.

    >>> mean_class_accuracy([0, 0, 0, 1], [0, 0, 0, 1]), mean_class_accuracy([0, 0, 0, 0], [0, 0, 0, 1])
    (1.0, 0.5)
    """
    scores = np.asarray(scores)
    predictions = scores if scores.ndim == 1 else np.argmax(scores, axis=1)
    matrix = confusion_matrix(predictions, labels, normalize="true")
    return float(np.mean(np.diagonal(matrix)))


def top_k_classes(
    scores: ArrayLike, labels: ArrayLike, k: int = 10, mode: Literal["accurate", "inaccurate"] = "accurate"
) -> list[tuple[int, float]]:
    """Return the k classes of highest or lowest accuracy as (class number, accuracy), best or worst first."""
    if mode not in ("accurate", "inaccurate"):
        raise ValueError(f"mode must be 'accurate' or 'inaccurate', got {mode!r}")
    labels, predictions = np.asarray(labels), np.argmax(np.asarray(scores), axis=1)
    accuracy = np.diagonal(confusion_matrix(predictions, labels, normalize="true"))
    classes = np.union1d(labels, predictions)
    order = np.argsort(accuracy, kind="stable")
    chosen = order[::-1][:k] if mode == "accurate" else order[:k]
    return [(int(classes[i]), float(accuracy[i])) for i in chosen]


def precision_recall_curve(scores: ArrayLike, labels: ArrayLike) -> tuple[Array, Array, Array]:
    """Return precision, recall and thresholds, by ascending threshold.

    Args:
        scores: (N,).
        labels: (N,); 1 is positive.

    Returns:
        precision and recall (T + 1,), thresholds (T,): the distinct scores, starting with the
        highest one at which recall is 1; the last point is precision 1, recall 0. Recall is NaN
        if nothing is positive.
    """
    scores, positive = np.asarray(scores), np.asarray(labels) == 1
    thresholds, group = np.unique(scores, return_inverse=True)
    chosen = np.cumsum(np.bincount(group)[::-1])[::-1]
    hits = np.cumsum(np.bincount(group, weights=positive)[::-1])[::-1]
    with np.errstate(invalid="ignore"):
        recall = hits / hits[0]
    start = len(hits) - 1 - np.argmax((hits == hits[0])[::-1])  # lower thresholds add no positives
    precision = np.append(hits[start:] / chosen[start:], 1.0)
    return precision, np.append(recall[start:], 0.0), thresholds[start:]


def average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the area under the step curve of precision over recall, with one step per distinct score.

    This is the mean, over the positives, of the precision at their score; NaN without positives.

    Args:
        scores: (N,).
        labels: (N,); 1 is positive.

    >>> average_precision([0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1])
    0.75
    """
    scores, labels = np.asarray(scores), np.asarray(labels)
    return _average_precision(np.sort(scores), np.sort(scores[labels == 1]))


def _average_precision(scores: Array, positives: Array) -> float:
    """Return the average precision, from all scores and the scores of positives, both ascending."""
    if not len(positives):
        return float("nan")
    hits = len(positives) - np.searchsorted(positives, positives)
    chosen = len(scores) - np.searchsorted(scores, positives)
    return float(np.mean(hits / chosen))


def _average_precisions(scores: Array, labels: Array) -> Array:
    """Return the average precision of each row of (rows, columns)."""
    scores, labels = np.ascontiguousarray(scores), np.ascontiguousarray(labels)
    ordered, positive = np.sort(scores, axis=1), labels == 1
    return np.array([_average_precision(ordered[i], np.sort(scores[i][positive[i]])) for i in range(len(scores))])


def mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the average precision over samples, averaged over classes that have a positive.

    Args:
        scores: (N, C).
        labels: (N, C); 1 is positive. Without a positive, the result is NaN.
    """
    return _nanmean(_average_precisions(np.asarray(scores).T, np.asarray(labels).T))


def mmit_mean_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Return the average precision over classes, averaged over samples that have a positive.

    The metric of Multi-Moments in Time (Monfort et al., 2019). Samples without a positive are
    ignored, as classes are in ``mean_average_precision`` (MMAction2 returns NaN for them).

    Args:
        scores: (N, C).
        labels: (N, C); 1 is positive. Without a positive, the result is NaN.
    """
    return _nanmean(_average_precisions(np.asarray(scores), np.asarray(labels)))


def best_thresholds(scores: ArrayLike, labels: ArrayLike) -> Array:
    """Return for each class the threshold with the highest F1 score; of several, the highest threshold.

    It is halfway between the lowest score above it and the next one. A class without a positive has 0.5.

    Args:
        scores: (N, C).
        labels: (N, C); 1 is positive.

    Returns:
        (C,) float64; ``scores >= thresholds`` are the labels.

    >>> best_thresholds([[0.9, 0.2], [0.5, 0.1], [0.25, 0.3]], [[1, 0], [1, 0], [0, 0]]).tolist()
    [0.375, 0.5]
    """
    scores, positive = np.asarray(scores, np.float64), np.asarray(labels) == 1
    out = np.full(scores.shape[1], 0.5)
    for number in np.flatnonzero(positive.any(0)):
        order = np.argsort(-scores[:, number], kind="stable")
        ordered, hits = scores[order, number], np.cumsum(positive[order, number])
        ends = np.flatnonzero(np.append(ordered[1:] < ordered[:-1], True))  # equal scores are above it together
        f1 = 2 * hits[ends] / (ends + 1 + hits[-1])
        last = ends[np.argmax(f1)]
        out[number] = ordered[last : last + 2].mean()
    return out


def f1_scores(predicted: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Return the mean over classes of the F1 score, and the F1 score over all labels of all samples.

    Classes that occur neither in labels nor in predictions are ignored; without any, both are NaN.

    Args:
        predicted: (N, C) bool.
        labels: (N, C); 1 is positive.
    """
    predicted, positive = np.asarray(predicted, bool), np.asarray(labels) == 1
    hits, counted = (predicted & positive).sum(0), predicted.sum(0) + positive.sum(0)
    occurs = counted > 0
    if not occurs.any():
        return float("nan"), float("nan")
    return float(np.mean(2 * hits[occurs] / counted[occurs])), float(2 * hits.sum() / counted.sum())


def _nanmean(values: Array) -> float:
    found = values[~np.isnan(values)]
    return float(np.mean(found)) if len(found) else float("nan")


def softmax(x: ArrayLike, axis: int = 1) -> Array:
    """Return the softmax along an axis."""
    x = np.asarray(x)
    exponentials = np.exp(x - x.max(axis, keepdims=True))
    out: Array = exponentials / exponentials.sum(axis, keepdims=True)
    return out


def get_weighted_score(score_list: Sequence[ArrayLike], coeff_list: Sequence[float]) -> Array:
    """Return the weighted sum of the scores of several models, each (N, C) in the same order.

    Raises ``ValueError`` if shapes, or the numbers of scores and weights, differ.
    """
    scores = [np.asarray(s) for s in score_list]
    if len(scores) != len(coeff_list) or len({s.shape for s in scores}) != 1:
        raise ValueError(f"{len(coeff_list)} weights for scores of shapes {[s.shape for s in scores]}")
    return np.tensordot(np.asarray(coeff_list), np.stack(scores), axes=1)
