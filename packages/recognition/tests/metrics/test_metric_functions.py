"""Metric functions compared with slow, obvious implementations."""

from __future__ import annotations

import numpy as np
import pytest

from vid_recognition.metrics import functional as F

RNG = np.random.default_rng(7)


def scores_and_labels(samples=80, classes=7, levels=None):
    scores = RNG.random((samples, classes)) if levels is None else RNG.integers(0, levels, (samples, classes)) / levels
    return scores, RNG.integers(0, classes, samples)


@pytest.mark.parametrize("levels", [None, 4, 1])
def test_top_k_is_membership_in_the_sorted_classes(levels):
    scores, labels = scores_and_labels(levels=levels)
    order = np.argsort(scores, axis=1, kind="stable")
    expected = [np.mean([labels[i] in order[i, -k:] for i in range(80)]) for k in (1, 3, 7)]
    assert F.top_k_accuracy(scores, labels, (1, 3, 7)) == pytest.approx(expected)


def test_top_k_beyond_the_classes_counts_labels_in_range():
    scores, labels = scores_and_labels()
    labels[:20] = [-1, 7] * 10
    assert F.top_k_accuracy(scores, labels, [7, 8, 100]) == [0.75, 0.75, 0.75]


def test_nan_scores_are_never_correct():
    scores = np.full((2, 3), np.nan)
    assert F.top_k_accuracy(scores, [0, 2], [1, 2]) == [0, 0]
    scores[0, 0] = scores[1, 2] = 0.5  # NaN in other classes must not help
    assert F.top_k_accuracy(scores, [0, 2], [1, 2]) == [0, 0]


def test_confusion_matrix_counts():
    predicted, labels = RNG.integers(0, 5, 60), RNG.integers(0, 5, 60)
    expected = [[np.sum((labels == i) & (predicted == j)) for j in range(5)] for i in range(5)]
    assert F.confusion_matrix(predicted, labels, num_classes=5).tolist() == expected


def test_confusion_matrix_of_the_classes_that_occur():
    matrix = F.confusion_matrix([4, 9, 9], [9, 9, 2])
    assert matrix.tolist() == [[0, 0, 1], [0, 0, 0], [0, 1, 1]]  # 2, 4, 9


@pytest.mark.parametrize(("normalize", "axis"), [("true", 1), ("pred", 0), ("all", None)])
def test_fractions_sum_to_one(normalize, axis):
    matrix = F.confusion_matrix([0, 1, 1, 3], [0, 0, 1, 1], normalize, num_classes=5)
    sums = matrix.sum(axis)
    assert set(np.round(np.atleast_1d(sums), 12)) <= {0.0, 1.0}
    assert matrix.sum() > 0


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.0], [0]), TypeError, "predictions must be integers, got float64"),
        (([0], [0.0]), TypeError, "labels must be integers"),
        (([0], [0], "rows"), ValueError, "got 'rows'"),
        (([0], [5], None, 5), ValueError, "within 0 to 4"),
        (([-1], [0], None, 5), ValueError, "within 0 to 4"),
    ],
)
def test_confusion_matrix_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        F.confusion_matrix(*arguments)


def test_mean_class_accuracy_weighs_classes_equally():
    scores = np.eye(3)[[0, 0, 0, 0, 1, 0]]
    assert F.mean_class_accuracy(scores, [0, 0, 0, 0, 1, 1]) == pytest.approx((1 + 0.5) / 2)
    assert F.mean_class_accuracy(scores, [0, 0, 0, 0, 0, 0]) == pytest.approx((5 / 6 + 0) / 2)  # 1 is only predicted


def test_best_and_worst_classes_by_number():
    scores = np.eye(10)[[2, 2, 5, 2, 9]]
    assert F.top_k_classes(scores, [2, 2, 5, 5, 9], 1, "inaccurate") == [(5, 0.5)]
    assert [c for c, _ in F.top_k_classes(scores, [2, 2, 5, 5, 9], 2)] == [9, 2]
    with pytest.raises(ValueError, match="'best'"):
        F.top_k_classes(scores, [2, 2, 5, 5, 9], 1, "best")


def slow_average_precision(scores, labels):
    """Area under the step curve, threshold by threshold."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = scores >= threshold
        recall = labels[chosen].sum() / labels.sum()
        area += (recall - recall_before) * labels[chosen].mean()
        recall_before = recall
    return area


@pytest.mark.parametrize("levels", [None, 5])
def test_average_precision_is_the_area(levels):
    scores, _ = scores_and_labels(60, 9, levels)
    labels = (RNG.random((60, 9)) < 0.2).astype(int)
    labels[0] = labels[:, 0] = 1
    for c in range(9):
        assert F.average_precision(scores[:, c], labels[:, c]) == pytest.approx(
            slow_average_precision(scores[:, c], labels[:, c])
        )
    by_class = [slow_average_precision(scores[:, c], labels[:, c]) for c in range(9)]
    assert F.mean_average_precision(scores, labels) == pytest.approx(np.mean(by_class))
    by_sample = [slow_average_precision(scores[i], labels[i]) for i in range(60)]
    assert F.mmit_mean_average_precision(scores, labels) == pytest.approx(np.mean(by_sample))


def test_rows_without_positives_are_ignored():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.4]])
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    assert F.mean_average_precision(scores, labels) == 1.0
    assert F.mmit_mean_average_precision(scores, labels) == pytest.approx((1 + 0.5) / 2)
    assert np.isnan(F.mean_average_precision(scores, np.zeros((3, 2))))
    assert np.isnan(F.average_precision([0.5], [0]))


def test_precision_recall_curve_by_hand():
    precision, recall, thresholds = F.precision_recall_curve([0.1, 0.4, 0.35, 0.8, 0.8], [0, 0, 1, 1, 0])
    assert thresholds.tolist() == [0.35, 0.4, 0.8]
    assert precision == pytest.approx([2 / 4, 1 / 3, 1 / 2, 1])
    assert recall.tolist() == [1, 0.5, 0.5, 0]


def test_softmax_of_large_values():
    values = F.softmax([[1000.0, 1000.0], [0.0, np.log(3)]])
    assert values.tolist() == [[0.5, 0.5], pytest.approx([0.25, 0.75])]
    assert F.softmax([[0.0], [0.0]], axis=0).tolist() == [[0.5], [0.5]]


def test_weighted_scores():
    a, b = np.ones((2, 3)), np.full((2, 3), 10.0)
    assert F.get_weighted_score([a, b], [2, 0.5]).tolist() == np.full((2, 3), 7.0).tolist()
    for scores, weights in (([a, b[:1]], [1, 1]), ([a], [1, 1])):
        with pytest.raises(ValueError, match="weights for scores of shapes"):
            F.get_weighted_score(scores, weights)
