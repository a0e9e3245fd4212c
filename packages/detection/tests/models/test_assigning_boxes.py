"""Matching of proposals with true boxes, the random choice among them, and their targets."""

from __future__ import annotations

import numpy as np
import pytest

from vid_detection.models.assigning import MaxIoUAssignerAVA, RandomSampler, box_targets
from vidcore.errors import UserError

TRUTH = np.array([[0, 0, 10, 10], [20, 0, 30, 10]], np.float32)
LABELS = np.array([[1, 0, 1], [0, 1, 0]], np.float32)
PROPOSALS = np.array([[0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 4], [50, 50, 60, 60]], np.float32)
"""With overlaps of 1 and 0.8 with the first, 0.4 with the second, and 0."""


def test_proposals_belong_to_the_true_box_that_they_overlap_most() -> None:
    found = MaxIoUAssignerAVA(pos_iou_thr=0.9, neg_iou_thr=0.7, min_pos_iou=0.9).assign(PROPOSALS, TRUTH, LABELS)
    assert found.truth.tolist() == [1, -1, 0, 0], "0.8 is neither one nor the other"
    assert found.overlaps.tolist() == pytest.approx([1, 0.8, 0.4, 0])
    assert found.labels.tolist() == [[1, 0, 1], *[[0, 0, 0]] * 3]


def test_the_best_proposal_of_a_true_box_may_be_enough() -> None:
    low = MaxIoUAssignerAVA(pos_iou_thr=0.9, min_pos_iou=0.3)
    assert low.assign(PROPOSALS, TRUTH, LABELS).truth.tolist() == [1, 0, 2, 0]
    twice = np.concatenate((PROPOSALS, PROPOSALS[2:3]))
    assert low.assign(twice, TRUTH, LABELS).truth.tolist() == [1, 0, 2, 0, 2]
    first = MaxIoUAssignerAVA(pos_iou_thr=0.9, min_pos_iou=0.3, gt_max_assign_all=False)
    assert first.assign(twice, TRUTH, LABELS).truth.tolist() == [1, 0, 2, 0, 0]
    never = MaxIoUAssignerAVA(pos_iou_thr=0.9, min_pos_iou=0.3, match_low_quality=False)
    assert never.assign(PROPOSALS, TRUTH, LABELS).truth.tolist() == [1, 0, 0, 0]


def test_without_truth_all_are_negative() -> None:
    found = MaxIoUAssignerAVA().assign(PROPOSALS, TRUTH[:0], LABELS[:0])
    assert (found.truth == 0).all()
    assert found.labels.shape == (4, 3)
    assert MaxIoUAssignerAVA().assign(PROPOSALS[:0], TRUTH, LABELS).labels.shape == (0, 3)


@pytest.mark.parametrize("wrong", [1.5, (0.6, 0.5)])
def test_limits_must_be_overlaps(wrong: float | tuple[float, float]) -> None:
    with pytest.raises(UserError, match="neg_iou_thr must be from 0 to 1"):
        MaxIoUAssignerAVA(neg_iou_thr=wrong)


@pytest.mark.parametrize(
    ("options", "positives", "negatives"),
    [
        ({}, [0, 1, 2], [3, 4, 5]),
        ({"add_gt_as_proposals": False}, [0], [1, 2, 3]),
        ({"num": 4}, [0, 1, 2], 1),
        ({"num": 4, "pos_fraction": 0.5}, 2, 2),
        ({"neg_pos_ub": 0.5}, [0, 1, 2], 1),
        ({"neg_pos_ub": 0}, [0, 1, 2], []),
    ],
)
def test_positives_come_first(options: dict, positives: list[int] | int, negatives: list[int] | int) -> None:
    found = MaxIoUAssignerAVA(min_pos_iou=0.9).assign(PROPOSALS, TRUTH, LABELS)
    rng = np.random.default_rng(3)
    chosen = RandomSampler(**options).sample(found, PROPOSALS, TRUTH, LABELS, rng)
    for rows, wanted in ((chosen.positives, positives), (chosen.negatives, negatives)):
        assert rows.tolist() == wanted if isinstance(wanted, list) else len(rows) == wanted
    assert (chosen.labels[: len(chosen.positives)] == LABELS[chosen.truth]).all()
    assert not chosen.labels[len(chosen.positives) :].any()
    every = PROPOSALS if options.get("add_gt_as_proposals") is False else np.concatenate((TRUTH, PROPOSALS))
    assert (chosen.boxes == every[np.concatenate((chosen.positives, chosen.negatives))]).all()


def test_positives_may_count_more() -> None:
    labels, weights = box_targets([LABELS, LABELS[:1]], [1, 0], 2.5)
    assert labels.tolist() == [[1, 0, 1], [0, 1, 0], [0, 0, 0], [1, 0, 1]]
    assert weights.tolist() == [2.5, 2.5, 1, 2.5]
    assert box_targets([LABELS], [1], -1.0)[1].tolist() == [1, 1, 1]
