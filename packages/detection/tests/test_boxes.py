"""Overlap, suppression, classes and places of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from vid_detection.boxes import class_boxes, published_fractions, suppress_boxes

BOXES = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 5], [30, 30, 30, 30]], np.float32)
SCORES = np.array([0.7, 0.9, 0.2, 0.4], np.float32)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"iou_threshold": 0.5}, [1, 3, 2]),
        ({"iou_threshold": 0.4}, [1, 3]),
        ({"iou_threshold": 0.9}, [1, 0, 3, 2]),
        ({"iou_threshold": 0.9, "score_threshold": 0.4}, [1, 0]),
        ({"iou_threshold": 0.9, "max_num": 1}, [1]),
    ],
)
def test_better_boxes_suppress_others(options: dict, kept: list[int]) -> None:
    assert suppress_boxes(BOXES, SCORES, **options).tolist() == kept
    assert suppress_boxes(BOXES[:0], SCORES[:0], **options).tolist() == []


def test_the_last_pixel_may_belong_to_a_box() -> None:
    pair, scores = np.array([[0, 0, 1, 1], [1, 0, 2, 1]], np.float32), np.array([0.9, 0.8])
    assert len(suppress_boxes(pair, scores, 0.3)) == 2, "they meet at an edge"
    assert len(suppress_boxes(pair, scores, 0.3, pixels=True)) == 1, "a third of six pixels"


def test_boxes_belong_to_classes_above_a_threshold_or_to_the_best() -> None:
    scores = np.array([[0.9, 0.3, 0.6], [0.0, 0.8, 0.1]])
    found = class_boxes(BOXES[:2], scores, 0.2)
    assert [rows[:, 4].tolist() for rows in found] == [[0.3, 0.8], [0.6]]
    assert [len(rows) for rows in class_boxes(BOXES[:2], scores, -1)] == [1, 1]
    assert [len(rows) for rows in class_boxes(BOXES[:2], scores, [0, 0.5, 0.7])] == [1, 0]


def test_published_fractions_mirror_about_the_last_pixel() -> None:
    found = published_fractions(np.array([[9, 10, 49, 30]]), (50, 100), True, (0.1, 0.2, 0.5, 0.8))
    assert found.tolist()[0] == pytest.approx([0.1 + 0.5 * 0.5, 0.2 + 0.8 * 0.2, 0.1 + 0.5 * 0.9, 0.2 + 0.8 * 0.6])
