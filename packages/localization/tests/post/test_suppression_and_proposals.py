"""Suppression, proposals and their features, compared with plain loops written from the definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from vid_localization.overlaps import best_coverage, best_iou, hull_iou, iou_and_coverage
from vid_localization.post.features import proposal_features
from vid_localization.post.proposals import generate_proposals
from vid_localization.post.suppression import post_processing, soft_nms, soft_picks
from vidcore.errors import UserError


def plain_soft_nms(rows: list[list[float]], alpha: float, low: float, high: float, top_k: int) -> list[list[float]]:
    left, picked = [list(row) for row in rows], []
    while left and len(picked) <= top_k:
        best = left.pop(max(range(len(left)), key=lambda i: left[i][2]))
        picked.append(best)
        for row in left:
            shared = max(0.0, min(row[1], best[1]) - max(row[0], best[0]))
            overlap = shared / (row[1] - row[0] + best[1] - best[0] - shared)
            if overlap > low + (high - low) * (best[1] - best[0]):
                row[2] *= math.exp(-(overlap**2) / alpha)
    return picked


@pytest.mark.parametrize("settings", [(0.4, 0.5, 0.9, 100), (0.75, 0.1, 0.3, 20), (0.4, 0.0, 0.0, 5)])
def test_soft_nms_equals_a_plain_loop(settings: tuple[float, float, float, int]) -> None:
    rng = np.random.default_rng(1)
    rows = np.column_stack((np.sort(rng.random((60, 2)), 1), rng.random(60)))
    found = soft_nms(rows, *settings)
    assert found.shape == (min(60, settings[3] + 1), 3)
    np.testing.assert_allclose(found, plain_soft_nms(rows.tolist(), *settings), rtol=1e-12)


def test_final_proposals_are_the_best_within_the_video() -> None:
    rows = np.array([[-0.2, 0.4, 9.0, 0.5], [0.5, 1.3, 9.0, 0.9], [0.1, 0.2, 9.0, 0.7]])
    found = post_processing(rows, 0.4, 0.5, 0.9, 2)
    np.testing.assert_allclose(found, [[0.5, 1.0, 0.9], [0.1, 0.2, 0.7]])
    assert post_processing(rows[:0], 0.4, 0.5, 0.9, 2).shape == (0, 3)
    np.testing.assert_allclose(post_processing(rows[:1], 0.4, 0.5, 0.9, 2), [[0.0, 0.4, 0.5]])


def test_soft_nms_refuses_wrong_arguments() -> None:
    with pytest.raises(UserError, match="alpha above 0"):
        soft_nms(np.zeros((3, 3)), 0.0, 0.5, 0.9, 10)
    with pytest.raises(UserError, match="start, end, score"):
        soft_nms(np.zeros(3), 0.4, 0.5, 0.9, 10)


def test_proposals_lie_between_peaks() -> None:
    start = np.array([0.1, 0.8, 0.1, 0.3, 0.2])
    end = np.array([0.1, 0.1, 0.1, 0.9, 0.2])
    found = generate_proposals(start, end, np.array([[0.3, 0.7]]))
    # starts at 0 (the first), 1 and 3; ends at 3 and 4 (the last)
    wanted = {(0, 3), (0, 4), (1, 3), (1, 4), (3, 4)}
    assert {tuple(row) for row in (found[:, :2] * 5 - 0.5).round().astype(int).tolist()} == wanted
    np.testing.assert_allclose(found[0], [0.3, 0.7, 0.8, 0.9, 0.72, 1.0, 1.0])
    assert (np.diff(found[:, 4]) <= 0).all()
    assert generate_proposals(start, end).shape == (5, 5)
    assert (generate_proposals(start, end, np.zeros((0, 2)))[:, 5:] == 0).all()


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_must_be_positive(top_k: int) -> None:
    with pytest.raises(UserError, match=rf"post_process_top_k\) must be at least 1, got {top_k}"):
        post_processing(np.ones((2, 3)), 0.4, 0.5, 0.9, top_k)
    with pytest.raises(UserError, match=rf"post_process_top_k\) must be at least 1, got {top_k}"):
        soft_picks(np.ones((2, 2)), np.ones(2), 0.4, 0.5, 0.9, top_k)


def test_one_position_has_no_proposals() -> None:
    assert generate_proposals(np.ones(1), np.ones(1)).shape == (0, 5)


def test_features_of_a_constant_probability() -> None:
    found = proposal_features(np.full(20, 0.5), np.array([[0.25, 0.75], [0.0, 0.5]]), 0.2, 4, 6, 8, 3)
    assert found.shape == (2, 18)
    np.testing.assert_allclose(found[0], 0.5)
    assert found[1, 8] == 0  # the first bin around its start lies before the video
    np.testing.assert_allclose(found[1, 2:7], 0.5)


def test_overlaps() -> None:
    segments, others = np.array([[0.0, 2.0], [5.0, 5.0]], np.float32), np.array([[1.0, 3.0], [0.0, 8.0]], np.float32)
    iou, coverage = iou_and_coverage(segments, others[:, None])
    assert iou.dtype == np.float32
    np.testing.assert_allclose(iou, [[1 / 3, 0.0], [0.25, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(coverage, [[0.5, np.nan], [1.0, np.nan]])
    np.testing.assert_array_equal(best_iou(segments, others), iou.max(0))
    np.testing.assert_array_equal(best_coverage(segments, others), coverage.max(0))
    assert best_iou(segments, others[:0]).tolist() == best_coverage(segments, others[:0]).tolist() == [0, 0]
    assert hull_iou(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == pytest.approx(-1 / 3)
