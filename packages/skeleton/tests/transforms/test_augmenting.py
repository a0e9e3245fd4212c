"""Random changes of skeletons."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vid_skeleton.graphs import LAYOUTS, Layout
from vid_skeleton.transforms.augmenting import (
    RandomJointFlip,
    RandomJointJitter,
    RandomJointRotation,
    RandomJointScale,
    RandomJointShear,
)
from vid_skeleton.transforms.features import GenSkeFeat
from vidcore.errors import AnnotationError, UserError
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

STEPS = [RandomJointRotation(40), RandomJointScale(), RandomJointShear(), RandomJointJitter(), RandomJointFlip]


def sample(axes: int) -> Sample:
    joints = 25 if axes == 3 else 17
    points = np.random.default_rng(1).normal(5, 1, (2, 6, joints, axes)).astype(np.float32)
    points[0, 2, 9] = 0
    points[1, 3:] = 0
    scores = np.linspace(0, 1, points[..., 0].size, dtype=np.float32).reshape(points.shape[:3])
    return Sample(key="v", joints=Joints(points, scores if axes == 2 else None))


def points_of(one: Sample) -> Array:
    assert one.joints is not None
    return one.joints.points


def distances(points: Array) -> Array:
    """Return all distances within the first person in the first frame."""
    first = points[0, 0]
    away: Array = np.linalg.norm(first[:, None] - first, axis=-1)
    return away


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize("step", STEPS, ids=lambda step: type(step).__name__)
def test_missing_joints_stay_missing_and_the_sample_is_kept(step: Any, axes: int) -> None:
    if step is RandomJointFlip:
        step = RandomJointFlip("coco" if axes == 2 else "nturgb+d", 1.0)
    one = sample(axes)
    before = points_of(one).copy()
    made, again = (points_of(step(one, np.random.default_rng(3))) for _ in range(2))
    np.testing.assert_array_equal(made, again)
    np.testing.assert_array_equal(points_of(one), before)
    assert made.dtype == np.float32 and not np.allclose(made, before)
    assert not made[1, 3:].any() and (made[1, :3] != 0).any(axis=-1).all()
    missing = 10 if isinstance(step, RandomJointFlip) and axes == 2 else 9  # wrists are exchanged
    missing = 5 if isinstance(step, RandomJointFlip) and axes == 3 else missing
    assert np.argwhere(~made[0, 2].any(axis=-1)).tolist() == [[missing]]


@pytest.mark.parametrize("axes", [2, 3])
def test_rotation_keeps_distances_and_scale_multiplies_them(axes: int) -> None:
    one = sample(axes)
    turned = RandomJointRotation(170)(one, np.random.default_rng(0))
    np.testing.assert_allclose(distances(points_of(turned)), distances(points_of(one)), atol=1e-4)
    assert abs(points_of(turned)[0, 0] - points_of(one)[0, 0]).max() > 0.5
    scaled = RandomJointScale(0.5, same=True)(one, np.random.default_rng(0))
    before, after = (distances(points_of(s))[np.triu_indices(17, 1)] for s in (one, scaled))
    np.testing.assert_allclose(after / before, (after / before)[0], rtol=1e-3)
    assert 0.5 <= (after / before)[0] <= 1.5


def test_angles_reach_their_limit_and_only_around_the_given_axes() -> None:
    one = sample(3)
    found = []
    for seed in range(200):
        made = points_of(RandomJointRotation((0, 30, 0))(one, np.random.default_rng(seed)))
        np.testing.assert_allclose(made[0, 0, :, 1], points_of(one)[0, 0, :, 1], atol=1e-4)
        before, after = (p[0, 0, 4, ::2] - p[0, 0, 8, ::2] for p in (points_of(one), made))
        found.append(np.degrees(np.arccos(before @ after / np.linalg.norm(before) / np.linalg.norm(after))))
    assert 28 < max(found) <= 30.01


def test_shear_keeps_lines_and_jitter_has_the_stated_size() -> None:
    one = sample(2)
    points_of(one)[0, 0, :3] = [[4, 4], [5, 6], [6, 8]]
    a, b, c = points_of(RandomJointShear()(one, np.random.default_rng(0)))[0, 0, :3]
    np.testing.assert_allclose(c - b, b - a, atol=1e-5)
    noise = points_of(RandomJointJitter(0.05)(one, np.random.default_rng(0))) - points_of(one)
    known = points_of(one).any(axis=-1)
    size = np.linalg.norm(np.ptp(points_of(one)[known], axis=0))
    assert noise[known].std() == pytest.approx(0.05 * size, rel=0.1)


@pytest.mark.parametrize("name", LAYOUTS)
def test_flipping_twice_is_the_identity_and_bones_are_mirrored(name: Any) -> None:
    points = np.random.default_rng(0).normal(0, 1, (1, 2, LAYOUTS[name].num_node, 3 if name == "nturgb+d" else 2))
    one = Sample(joints=Joints(points.astype(np.float32)))
    step = RandomJointFlip(name, 1.0)
    rng = np.random.default_rng(0)
    once = step(one, rng)
    np.testing.assert_allclose(points_of(step(once, rng)), points_of(one), atol=1e-5)
    bones, mirrored = (points_of(GenSkeFeat(name, ("b",))(s, rng)) for s in (one, once))
    left, right = LAYOUTS[name].left[-1], LAYOUTS[name].right[-1]
    np.testing.assert_allclose(mirrored[..., left, 0], -bones[..., right, 0], atol=1e-5)
    np.testing.assert_allclose(mirrored[..., left, 1:], bones[..., right, 1:], atol=1e-5)
    assert RandomJointFlip(name, 0.0)(one, rng) is one


def test_errors_name_what_is_allowed() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="degrees must be one number of at least 0, or three"):
        RandomJointRotation((1, 2))
    with pytest.raises(UserError, match="add left and right"):
        RandomJointFlip(Layout(3, ((1, 0), (2, 1))))
    with pytest.raises(UserError, match="did you mean 'openpose'"):
        RandomJointFlip("open_pose")  # type: ignore[arg-type]
    with pytest.raises(
        AnnotationError, match="v: 'openpose' of RandomJointFlip has 18 joints, got 17: those of 'coco'"
    ):
        RandomJointFlip("openpose", 1.0)(sample(2), rng)
    with pytest.raises(UserError, match="got 6: put it before GenSkeFeat"):
        RandomJointShear()(Sample(joints=Joints(np.ones((1, 1, 17, 6), np.float32))), rng)
