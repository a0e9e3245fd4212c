"""Sampling, decoding and cropping of skeletons; ``ops/skeleton.*`` of the reference numbers test their values."""

from __future__ import annotations

import re

import numpy as np
import pytest

from vid_skeleton.records import Detections
from vid_skeleton.transforms.compact import PoseCompact
from vid_skeleton.transforms.decoding import DecompressPose, PadTo, PoseDecode
from vid_skeleton.transforms.sampling import UniformSampleFrames
from vidcore.errors import AnnotationError, UserError
from vidcore.geometry import Geometry
from vidcore.records import Clip, Joints
from vidcore.sample import Sample

RNG = np.random.default_rng(0)


def skeleton(people: int = 2, frames: int = 12, joints: int = 5) -> Sample:
    points = np.random.default_rng(1).uniform(10, 90, (people, frames, joints, 2)).astype(np.float32)
    return Sample(
        key="v", joints=Joints(points, points[..., 0] / 100), total_frames=frames, geometry=Geometry.whole((100, 100))
    )


@pytest.mark.parametrize("total", [5, 16, 20, 31, 32, 100])
def test_every_draw_is_in_order_and_within_the_video(total: int) -> None:
    step = UniformSampleFrames(16, num_clips=3)
    rng = np.random.default_rng(0)
    for _ in range(50):
        clip = step(Sample(total_frames=total), rng).clip
        assert clip is not None and (clip.count, clip.length) == (3, 16)
        frames = clip.indices.reshape(3, 16)
        assert frames.min() >= 0 and frames.max() < total
        if total >= 16:
            assert (np.diff(frames) > 0).all()


def test_test_mode_repeats_itself_and_one_view_is_its_first_clip() -> None:
    step = UniformSampleFrames(16, num_clips=4, test_mode=True)
    first, again = (step(Sample(total_frames=99), np.random.default_rng(seed)).clip for seed in (0, 1))
    one = step.one_view(True)(Sample(total_frames=99), RNG).clip  # type: ignore[operator]
    assert first is not None and again is not None and one is not None
    np.testing.assert_array_equal(first.indices, again.indices)
    np.testing.assert_array_equal(first.indices[:16], one.indices)
    assert step.views == (4, 1) and step.one_view(False) is step


def test_decode_names_the_frame_that_has_no_joints() -> None:
    sample = skeleton().replace(clip=Clip(np.array([0, 12]), 2))
    with pytest.raises(AnnotationError, match=r"^v: has joints of 12 frames, but frame 12 was sampled"):
        PoseDecode()(sample, RNG)


@pytest.mark.parametrize("step", [PoseDecode(), PadTo(20), PoseCompact()])
def test_steps_name_a_sample_without_people_and_one_without_joints(step: PoseDecode | PadTo | PoseCompact) -> None:
    with pytest.raises(AnnotationError, match=r"^v: has no person"):
        step(skeleton(people=0), RNG)
    with pytest.raises(UserError, match=rf"{type(step).__name__}: the sample has no joints"):
        step(Sample(), RNG)


def test_pad_refuses_longer_samples_and_pads_scores() -> None:
    with pytest.raises(AnnotationError, match=r"^v: has 12 frames, which is more than PadTo's 8"):
        PadTo(8)(skeleton(), RNG)
    padded = PadTo(20, "zero")(skeleton(), RNG)
    assert padded.joints is not None and padded.joints.scores is not None
    assert padded.joints.scores.shape == (2, 20, 5) and not padded.joints.scores[:, 12:].any()


def test_compact_leaves_missing_joints_and_moves_the_others() -> None:
    sample = skeleton()
    assert sample.joints is not None and sample.joints.scores is not None
    sample.joints.points[0, 3, 2] = 0
    before = sample.joints.points.copy()
    step = PoseCompact(padding=0.1)
    cut = step(sample, RNG)
    assert cut.joints is not None and cut.geometry is not None
    box = step.box(before, (100, 100))
    assert box is not None and cut.geometry.size == (box[3] - box[1], box[2] - box[0])
    assert not cut.joints.points[0, 3, 2].any()
    np.testing.assert_allclose(cut.joints.points[1], before[1] - box[:2], rtol=1e-6)
    np.testing.assert_array_equal(sample.joints.points, before)
    back = cut.geometry.to_source(np.array([[0, 0, *cut.geometry.size[::-1]]]))
    np.testing.assert_allclose(back, [box])  # so predictions find their place in the picture


def test_compact_needs_skeletons_without_frames_and_positive_ratios() -> None:
    with pytest.raises(UserError, match="use MMCompact"):
        PoseCompact()(skeleton().replace(frames=np.zeros((1, 100, 100, 3), np.uint8)), RNG)
    with pytest.raises(UserError, match="hw_ratio must be a positive number"):
        PoseCompact(hw_ratio=[1.0, 0.0])


def test_decompress_keeps_the_best_people_of_each_frame() -> None:
    scores = np.array([0.1, 0.9, 0.5, 0.3], np.float16)[:, None]
    points = scores[..., None].repeat(2, axis=-1)
    sample = Sample(key="v", total_frames=4).with_extra(detections=Detections(points, scores, np.array([1, 1, 1, 3])))
    whole = DecompressPose(squeeze=False, max_person=2)(sample, RNG)
    assert whole.joints is not None and whole.joints.scores is not None and not whole.extra
    np.testing.assert_allclose(whole.joints.scores[:, 1, 0], [0.9, 0.5], atol=1e-3)
    np.testing.assert_array_equal(whole.joints.scores[:, [0, 2]], 0)
    assert DecompressPose()(sample, RNG).total_frames == 2


def test_decompress_names_frames_that_do_not_exist_or_fall() -> None:
    points, scores = np.ones((2, 3, 2)), np.ones((2, 3))
    late = Sample(key="v", total_frames=4).with_extra(detections=Detections(points, scores, np.array([1, 4])))
    with pytest.raises(AnnotationError, match="v: has a person in frame 4, but 4 frames"):
        DecompressPose(squeeze=False)(late, RNG)
    with pytest.raises(AnnotationError, match=re.escape("row 1 is of frame 1, after frame 4")):
        Detections(points, scores, np.array([4, 1]))
    with pytest.raises(AnnotationError, match="got 2, 2 and 1"):
        Detections(points, scores, np.array([4]))
    with pytest.raises(UserError, match="the sample has no detections"):
        DecompressPose()(Sample(), RNG)
