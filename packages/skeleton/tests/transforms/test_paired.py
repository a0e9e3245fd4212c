"""Frames and skeletons of one video together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vid_skeleton.records import PoseClip
from vid_skeleton.transforms.heatmaps import GeneratePoseTarget
from vid_skeleton.transforms.paired import MMCompact, MMDecode, MMUniformSampleFrames
from vidcore.errors import AnnotationError, UserError
from vidcore.geometry import Geometry
from vidcore.protocols import Transform
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.flipping import Flip
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.resizing import Resize
from vidcore.video.synthetic import write_video

TOTAL, SIZE = 12, (96, 96)


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """A white square that moves to the right; the joints are its corners, at half the size of the frames."""
    path, points = tmp_path / "square.mp4", np.zeros((1, TOTAL, 4, 2), np.float32)
    frames = np.zeros((TOTAL, *SIZE, 3), np.uint8)
    for t in range(TOTAL):
        frames[t, 16:32, 8 + 2 * t : 24 + 2 * t] = 255
        points[0, t] = [(4 + t, 8), (12 + t, 8), (4 + t, 16), (12 + t, 16)]
    write_video(path, frames)
    size = (SIZE[0] // 2, SIZE[1] // 2)
    return Sample(path=str(path), total_frames=TOTAL, joints=Joints(points), geometry=Geometry.whole(size))


def test_joints_lie_on_the_frames_after_every_step(sample: Sample) -> None:
    steps: dict[str, Transform] = {
        "sample": MMUniformSampleFrames({"RGB": 4, "Pose": 4}, test_mode=True),
        "decode": MMDecode(),
        "compact": MMCompact(padding=0.5, threshold=4),
        "resize": Resize((96, 96), keep_ratio=False),
        "flip": Flip(1.0),
        "maps": GeneratePoseTarget(scaling=0.25, left_kp=(), right_kp=()),
        "format": FormatShape("NCTHW"),
    }
    rng = np.random.default_rng(0)
    sample = Pipeline(steps)(sample, rng)
    assert sample.joints is not None
    frames = sample.inputs["imgs"]
    assert isinstance(frames, np.ndarray) and frames.shape == (1, 3, 4, 96, 96)
    heat = sample.inputs["heatmap_imgs"]
    assert isinstance(heat, np.ndarray) and heat.shape == (1, 4, 4, 24, 24)
    for t in range(4):
        bright = np.argwhere(frames[0, 0, t] > 128)
        top, left = bright.min(0)
        low, right = bright.max(0) + 1
        found = sample.joints.points[0, t]
        wanted = [(right, top), (left, top), (right, low), (left, low)]
        assert np.abs(found - wanted).max() < 3


@pytest.mark.parametrize("ending", [".mp4", ".avi", "_rgb.avi"])
def test_published_names_of_videos_have_no_suffix(sample: Sample, tmp_path: Path, ending: str) -> None:
    assert sample.path is not None
    Path(sample.path).rename(tmp_path / f"S001{ending}")
    steps = {"sample": MMUniformSampleFrames({"RGB": 4, "Pose": 4}, test_mode=True), "decode": MMDecode()}
    decoded = Pipeline(steps)(sample.replace(path=str(tmp_path / "S001")), np.random.default_rng(0))
    assert decoded.path == str(tmp_path / f"S001{ending}") and decoded.frames is not None


def test_lengths_differ_by_modality(sample: Sample) -> None:
    done = MMUniformSampleFrames({"RGB": 3, "Pose": 9}, num_clips=2)(sample, np.random.default_rng(0))
    pose = done.extra["pose_clip"]
    assert done.clip is not None and isinstance(pose, PoseClip)
    assert (len(done.clip.indices), done.clip.length, len(pose.indices)) == (6, 3, 18)
    decoded = MMDecode()(done, np.random.default_rng(0))
    assert decoded.joints is not None and decoded.joints.points.shape == (1, 18, 4, 2)
    assert decoded.joints.scores is not None and (decoded.joints.scores == 1).all()
    assert "pose_clip" not in decoded.extra


def test_frames_alone_are_cut_to_all_skeletons(sample: Sample) -> None:
    rng = np.random.default_rng(0)
    given = sample.replace(path=(sample.path or "").removesuffix(".mp4"))
    done = MMDecode()(MMUniformSampleFrames({"RGB": 3})(given, rng), rng)
    assert done.frames is not None and done.joints is not None
    assert len(done.frames) == 3 and done.joints.points.shape == (1, TOTAL, 4, 2)


def test_parts_beyond_the_picture_are_black(sample: Sample) -> None:
    frames = np.full((1, 20, 20, 3), 9, np.uint8)
    joints = Joints(np.array([[[[1, 1], [18, 5]]]], np.float32))
    given = Sample(frames=frames, joints=joints, geometry=Geometry.whole((20, 20)))
    done = MMCompact(padding=0.0, threshold=3)(given, np.random.default_rng(0))
    assert done.frames is not None
    height, width = done.frames.shape[1:3]
    assert (height, width) == (16, 17) and not done.frames[0, 0].any() and done.frames[0, -1].all()
    assert MMCompact(threshold=100)(given, np.random.default_rng(0)).frames is not None


def test_what_is_missing_is_named(sample: Sample) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UserError, match="clip_len must have a positive number for RGB and, if wanted, Pose, got "):
        MMUniformSampleFrames({"Pose": 8})
    with pytest.raises(UserError, match="put MMUniformSampleFrames before it"):
        MMDecode()(sample, rng)
    chosen = MMUniformSampleFrames({"RGB": 2, "Pose": 2})(sample, rng)
    with pytest.raises(AnnotationError, match="size of the picture in which its joints are is not known"):
        MMDecode()(chosen.replace(geometry=None), rng)
    short = chosen.replace(joints=Joints(np.ones((1, 1, 4, 2), np.float32)))
    with pytest.raises(AnnotationError, match="has joints of 1 frames, but frame"):
        MMDecode()(short, rng)


def test_a_pipeline_counts_its_views() -> None:
    step = MMUniformSampleFrames({"RGB": 8, "Pose": 32}, num_clips=10, test_mode=True)
    assert step.views == (10, 1) and step.one_view(True).views == (1, 1)
