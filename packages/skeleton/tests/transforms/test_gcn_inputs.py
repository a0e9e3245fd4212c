"""From joints to the inputs of graph networks; ``ops/skeleton.*`` of the reference numbers test the values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from vid_skeleton.graphs import LAYOUTS, Layout
from vid_skeleton.transforms.features import GenSkeFeat, JointToBone, MergeSkeFeat, ToMotion
from vid_skeleton.transforms.formatting import FormatGCNInput, KeepPersons
from vid_skeleton.transforms.normalising import PreNormalize2D, PreNormalize3D
from vidcore.errors import AnnotationError, UserError
from vidcore.geometry import Geometry
from vidcore.records import Clip, Joints
from vidcore.sample import Sample
from vidcore.transforms.flipping import Flip
from vidcore.typing import Array

RNG = np.random.default_rng(0)


def flat(people: int = 2, frames: int = 6, joints: int = 17) -> Sample:
    """Return a sample with 2-D joints, of which joint 9 of the first person is missing in frame 2."""
    rng = np.random.default_rng(1)
    points = rng.uniform(10, 90, (people, frames, joints, 2)).astype(np.float32)
    scores = rng.uniform(0.5, 1, (people, frames, joints)).astype(np.float32)
    if people:
        points[0, 2, 9], scores[0, 2, 9] = 0, 0
    return Sample(key="v", joints=Joints(points, scores), total_frames=frames, geometry=Geometry.whole((100, 200)))


def solid(people: int = 2, frames: int = 6) -> Sample:
    points = np.random.default_rng(1).normal(0, 1, (people, frames, 25, 3)).astype(np.float32)
    return Sample(key="v", joints=Joints(points), total_frames=frames)


def points_of(sample: Sample) -> Array:
    assert sample.joints is not None
    return sample.joints.points


def test_missing_joints_stay_missing_in_every_stream() -> None:
    sample = PreNormalize2D()(flat(), RNG)
    assert not points_of(sample)[0, 2, 9].any()
    for stream in ("b", "jm", "bm"):
        made = points_of(GenSkeFeat("coco", (stream,))(sample, RNG))
        assert not made[0, 2, 9].any(), stream
        if "m" in stream:
            assert not made[0, 1, 9].any(), "the motion towards a missing joint"
        assert made[1, :-1, 1:].all(), stream
    as_published = PreNormalize2D(missing="corner")(flat(), RNG)
    np.testing.assert_array_equal(points_of(as_published)[0, 2, 9], [-1, -1])
    assert points_of(GenSkeFeat("coco", ("b",), missing="zero")(as_published, RNG))[0, 2, 9].any()


def test_a_joint_in_the_middle_does_not_become_missing() -> None:
    sample = flat()
    points_of(sample)[1, 3, 4] = (100, 50)
    points_of(sample)[0, 3, 4] = (100, 20)
    made = points_of(PreNormalize2D()(sample, RNG))
    assert made[1, 3, 4].any() and abs(made[1, 3, 4]).max() < 1e-6
    np.testing.assert_allclose(made[0, 3, 4], [0, -0.6], rtol=1e-6)


def test_pixels_are_gone_after_normalising() -> None:
    with pytest.raises(UserError):
        Flip(1.0)(PreNormalize2D()(flat(), RNG), RNG)


def test_streams_are_those_of_single_steps() -> None:
    sample = solid()
    bones = JointToBone(target="b")(sample, RNG)
    steps = MergeSkeFeat(("keypoint", "b", "jm", "bm"))(
        ToMotion(source="b", target="bm")(ToMotion(target="jm")(bones, RNG), RNG), RNG
    )
    at_once = GenSkeFeat(feats=("j", "b", "jm", "bm"))(sample, RNG)
    np.testing.assert_array_equal(points_of(steps), points_of(at_once))
    assert not steps.extra.keys() & {"b", "jm", "bm"}


def test_bones_of_a_layout_of_the_user() -> None:
    layout = Layout(3, ((1, 0), (2, 1)))
    points = np.array([[1, 0], [3, 0], [3, 4]], np.float32).reshape(1, 1, 3, 2)
    scores = np.array([[[1, 0.5, 0]]], np.float32)
    made = points_of(GenSkeFeat(layout, ("b",))(Sample(joints=Joints(points, scores)), RNG))
    np.testing.assert_allclose(made[0, 0], [[0, 0, 1], [2, 0, 0.75], [0, 4, 0.25]])


def test_a_second_person_who_comes_later_makes_no_jump() -> None:
    sample = solid()
    points_of(sample)[1, :3] = 0
    made = points_of(GenSkeFeat(feats=("jm",))(sample, RNG))
    assert not made[1, :3].any() and made[1, 3:5].all()


def test_upright_in_the_first_frame_with_the_joints_found() -> None:
    sample = solid()
    points_of(sample)[0, 0, [1, 8]] = 0  # spine and shoulder are not found in the first frame
    made = PreNormalize3D()(sample, RNG)
    spine, shoulders = points_of(made)[0, 1, [0, 1]], points_of(made)[0, 0, [4, 8]]
    assert not points_of(made)[0, 0, [1, 8]].any() and abs(points_of(made)[0, 1, 1]).max() < 1e-5
    turned = points_of(made)[0, 1, 8] - points_of(made)[0, 1, 4]
    np.testing.assert_allclose(turned / np.linalg.norm(turned), [1, 0, 0], atol=1e-5)
    assert np.isfinite(spine).all() and np.isfinite(shoulders).all()
    before = np.linalg.norm(points_of(sample)[1, :, 3] - points_of(sample)[1, :, 7], axis=-1)
    after = np.linalg.norm(points_of(made)[1, :, 3] - points_of(made)[1, :, 7], axis=-1)
    np.testing.assert_allclose(after, before, rtol=1e-4)


Damage = Callable[[Sample], Sample]


def _nan(sample: Sample) -> Sample:
    points_of(sample)[1, 3, 5, 1] = np.nan
    return sample


def _nobody(sample: Sample) -> Sample:
    points_of(sample)[:] = 0
    return sample


def _infinite(sample: Sample) -> Sample:
    points_of(sample)[0, 0, 0, 0] = np.inf
    return sample


@pytest.mark.parametrize(
    ("step", "sample", "message"),
    [
        (PreNormalize2D(), _nan(flat()), "v: coordinate 1 of joint 5 of person 1 in frame 3 is nan, and 1 numbers"),
        (PreNormalize3D(), _infinite(solid()), "v: coordinate 0 of joint 0 of person 0 in frame 0 is inf"),
        (FormatGCNInput(), _nan(flat()), "v: coordinate 1 of joint 5 of person 1"),
        (PreNormalize2D(), _nobody(flat()), "v: no joint of any person was found in 6 frames"),
        (PreNormalize3D(), _nobody(solid()), "v: no joint of any person was found"),
        (FormatGCNInput(), flat(people=0), "v: has no person"),
        (PreNormalize3D(), solid(people=3), "one or two people, got 3: put KeepPersons before it"),
        (PreNormalize3D(), flat(), "needs x, y and z of joints, got 2 coordinates"),
        (
            GenSkeFeat("coco"),
            flat(joints=18),
            "v: 'coco' of GenSkeFeat has 17 joints, got 18: those of 'openpose', from which ConvertJoints",
        ),
        (GenSkeFeat("nturgb+d"), flat(joints=25), "scores go with x and y of 2-D joints"),
        (KeepPersons(persons=(2,)), flat(), "has 2 people, counted from 0, so person 2 does not exist"),
        (FormatGCNInput(), flat().replace(clip=Clip(np.arange(4), 1, 4)), "6 frames cannot be divided into 4 clips"),
    ],
)
def test_bad_samples_are_named(step: Any, sample: Sample, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        step(sample, RNG)


def test_arguments_name_what_is_allowed() -> None:
    with pytest.raises(UserError, match="did you mean 'coco'"):
        JointToBone("cocoo")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="must be some of j, b, jm and bm, got 'motion'"):
        GenSkeFeat(feats=("motion",))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="the sample has no joints 'bones'; did you mean 'bone'"):
        MergeSkeFeat(("bones",))(flat().with_extra(bone=Joints(np.ones((1, 1, 1, 2)))), RNG)


def people() -> Sample:
    """Return three people: one who is large and still, one who moves, one who is there for long."""
    rng = np.random.default_rng(0)
    body = rng.uniform(0, 1, (17, 2)).astype(np.float32)
    points = np.zeros((3, 10, 17, 2), np.float32)
    points[0, :6] = 10 + 100 * body
    points[1, :6] = 200 + 40 * body + rng.normal(0, 8, (6, 17, 2))
    points[2] = 300 + 30 * body
    scores = (points[..., 0] > 0) * np.array([0.5, 0.4, 0.9], np.float32)[:, None, None]
    return Sample(key="v", joints=Joints(points, scores.astype(np.float32)), total_frames=10)


@pytest.mark.parametrize(("rule", "kept"), [("largest", 0), ("motion", 1), ("longest", 2), ("scores", 2), ("first", 0)])
def test_the_rule_says_who_is_kept(rule: Any, kept: int) -> None:
    sample = KeepPersons(1, rule)(people(), RNG)
    assert sample.meta["persons"] == [kept]
    np.testing.assert_array_equal(points_of(sample), points_of(people())[[kept]])


def test_given_people_are_kept_and_the_others_do_not_count() -> None:
    both = KeepPersons(2, persons=(2, 0))(people(), RNG)
    assert both.meta["persons"] == [2, 0]
    alone = people()
    assert KeepPersons(3)(alone, RNG) is alone


def test_graph_input_cuts_people_and_says_so() -> None:
    made = FormatGCNInput(2)(people(), RNG)
    joints = made.inputs["joints"]
    assert isinstance(joints, np.ndarray) and joints.dtype == np.float32 and joints.shape == (1, 2, 10, 17, 3)
    assert made.meta["persons"] == [0, 1] and made.joints is None
    chosen = FormatGCNInput(2)(KeepPersons(2, "longest")(people(), RNG), RNG)
    assert chosen.meta["persons"] == [0, 2]


@pytest.mark.parametrize("name", LAYOUTS)
def test_bones_lead_to_the_root_of_a_layout(name: Any) -> None:
    parents = JointToBone(name).parents()
    walk = np.arange(len(parents))
    for _ in range(len(parents)):
        walk = parents[walk]
    assert len(set(walk.tolist())) == 1
