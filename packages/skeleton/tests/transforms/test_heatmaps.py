"""GeneratePoseTarget."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vid_skeleton.transforms.heatmaps import GeneratePoseTarget
from vidcore.errors import AnnotationError, UserError
from vidcore.geometry import Geometry
from vidcore.records import Clip, Joints
from vidcore.sample import Sample
from vidcore.transforms.formatting import FormatShape

RNG = np.random.default_rng(0)


def drawn(points: Any, scores: Any = None, clip: Clip | None = None, **options: Any) -> Any:
    array = np.array(points, np.float32)
    found = None if scores is None else np.array(scores, np.float32)
    sample = Sample(key="a", joints=Joints(array, found), geometry=Geometry.whole((20, 30)), clip=clip)
    step = GeneratePoseTarget(**{"skeletons": [[0, 1]], "left_kp": [0], "right_kp": [1], **options})
    sample = step(sample, RNG)
    assert sample.heatmaps is not None
    return sample if clip else sample.heatmaps.maps


def test_a_joint_is_a_gaussian_times_its_score_and_people_share_maps() -> None:
    maps = drawn([[[[5, 6], [20, 9]]], [[[6, 6], [0, 0]]]], [[[0.5, 1]], [[1, 0]]])
    assert maps.shape == (1, 2, 20, 30) and maps.dtype == np.float32
    near = np.exp(-1 / (2 * 0.6**2))
    assert maps[0, 0, 6, 5:8] == pytest.approx([max(0.5, near), 1, near])
    assert maps[0, 1, 9, 20] == 1 and maps[0, 1, :5, :5].max() == 0  # a missing joint is not drawn at the corner


def test_without_scores_each_joint_has_score_1() -> None:
    assert drawn([[[[5, 6], [0, 0]]]])[0, 1, 0, 0] == 1
    assert drawn([[[[5, 6], [9, 9]]]], [[[0.2, 0.3]]], use_score=False)[0, 1, 9, 9] == 1


def test_limbs_follow_joints_in_maps_of_their_own() -> None:
    maps = drawn([[[[5, 6], [15, 6]]]], [[[0.5, 1]]], with_limb=True)
    assert maps.shape[1] == 3
    assert maps[0, 2, 6, 5:16] == pytest.approx(0.5)
    assert maps[0, 0, 6, 10] == 0


def test_mirrored_maps_exchange_left_and_right() -> None:
    maps = drawn([[[[5, 6], [20, 9]]]], double=True, left_limb=[], right_limb=[], with_limb=True)
    assert np.array_equal(maps[1, 0], maps[0, 1, :, ::-1])
    assert np.array_equal(maps[1, 2], maps[0, 2, :, ::-1])


def test_clips_are_inputs_of_their_own() -> None:
    points = RNG.uniform(1, 19, (1, 6, 2, 2))
    sample = drawn(points, clip=Clip(np.arange(6), 3, 2), double=True)
    inputs = FormatShape("NCTHW_Heatmap")(sample, RNG).inputs["heatmap_imgs"]
    assert inputs.shape == (4, 2, 3, 20, 30)  # type: ignore[union-attr]
    assert np.array_equal(inputs[1, :, 0], sample.heatmaps.maps[3])  # type: ignore[index]


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.ones((1, 1, 2, 3)), {}, "joints of 3 coordinates"),
        (np.ones((1, 1, 2, 2)), {"with_limb": True, "skeletons": [[0, 4]]}, "skeletons names joint 4"),
        (np.ones((1, 1, 2, 2)), {"with_kp": False}, "nothing would be drawn"),
        (np.ones((1, 1, 2, 2)), {"left_kp": []}, "left_kp has 0"),
    ],
)
def test_wrong_joints_and_options_are_named(points: Any, options: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        drawn(points, **options)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "joint 0 of person 0"), (0, "no joint of any person")])
def test_bad_skeletons_are_named(value: float, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        drawn(np.full((1, 1, 2, 2), value))
