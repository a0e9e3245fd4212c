"""Conversion of joints by their names."""

from __future__ import annotations

import numpy as np
import pytest

from vid_skeleton.graphs import COCO, OPENPOSE, Layout
from vid_skeleton.transforms.layouts import ConvertJoints
from vidcore.errors import AnnotationError, UserError
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

RNG = np.random.default_rng(0)


def converted(step: ConvertJoints, points: Array, scores: Array) -> Joints:
    joints = step(Sample(key="v", joints=Joints(points, scores)), RNG).joints
    assert joints is not None and joints.scores is not None
    return joints


def test_names_decide_and_there_and_back_is_the_identity() -> None:
    points = np.random.default_rng(1).uniform(1, 9, (2, 3, 17, 2)).astype(np.float32)
    scores = points[..., 0] / 10
    there = converted(ConvertJoints("coco", "openpose"), points, scores)
    order = [0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]  # without the neck
    np.testing.assert_array_equal(np.delete(there.points, 1, axis=2), points[:, :, order])
    np.testing.assert_allclose(there.points[:, :, 1], (points[:, :, 5] + points[:, :, 6]) / 2)
    back = converted(ConvertJoints("openpose", "coco"), there.points, there.scores)  # type: ignore[arg-type]
    np.testing.assert_array_equal(back.points, points)
    np.testing.assert_array_equal(back.scores, scores)


def test_a_neck_needs_both_shoulders() -> None:
    points, scores = np.ones((1, 2, 17, 2), np.float32), np.ones((1, 2, 17), np.float32)
    points[0, 1, 5], scores[0, 1, 5] = 0, 0
    made = converted(ConvertJoints("coco", "openpose"), points, scores)
    neck = OPENPOSE.names.index("neck")
    assert made.points[0, 0, neck].all() and not made.points[0, 1, neck].any()
    assert made.scores is not None and made.scores[0, :, neck].tolist() == [1, 0]


def test_joints_that_cannot_be_made_and_wrong_numbers_are_named() -> None:
    with pytest.raises(UserError, match=r"source has no joint spine_base, spine_middle, head, .*which target needs"):
        ConvertJoints("coco", "nturgb+d")
    with pytest.raises(UserError, match="target has no names of joints"):
        ConvertJoints("coco", Layout(2, ((1, 0),)))
    with pytest.raises(AnnotationError, match="v: 'coco' of ConvertJoints has 17 joints, got 25: those of 'nturgb"):
        ConvertJoints("coco", "openpose")(Sample(key="v", joints=Joints(np.ones((1, 1, 25, 3)))), RNG)
    assert COCO.names[0] == "nose"
