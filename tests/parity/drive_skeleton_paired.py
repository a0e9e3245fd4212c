"""Transforms of frames and skeletons together."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from vid_skeleton.records import PoseClip
from vid_skeleton.transforms.paired import MMCompact, MMDecode, MMUniformSampleFrames
from vidcore.geometry import Geometry
from vidcore.records import Clip, Joints
from vidcore.sample import Sample
from vidcore.transforms.pixels import realize

DATA = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"
RNG = np.random.default_rng(0)


def _checksums(frames: Any) -> list[int]:
    return [zlib.crc32(np.ascontiguousarray(frame).tobytes()) for frame in frames]


def paired_frame_sampling(case: Any, row: Any) -> dict[str, Any]:
    done = MMUniformSampleFrames(test_mode=True, **row.settings)(Sample(total_frames=row.inputs["total_frames"]), RNG)
    pose = done.extra["pose_clip"]
    assert done.clip is not None and isinstance(pose, PoseClip)
    found = {"RGB": done.clip.indices, "Pose": pose.indices}
    return {**{f"{name}_inds": indices.tolist() for name, indices in found.items()}, "modality": list(found)}


def paired_decoding(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    sample = Sample(
        path=str(DATA / given["file"]),
        joints=Joints(given["keypoint"], given.get("keypoint_score")),
        geometry=Geometry.whole(tuple(given["img_shape"])),
        clip=Clip(given["RGB_inds"], len(given["RGB_inds"])),
        extra={"pose_clip": PoseClip(given["Pose_inds"])},
    )
    done = realize(MMDecode()(sample, RNG))
    assert done.joints is not None and done.frames is not None and done.geometry is not None
    return {
        "keypoint": done.joints.points,
        "keypoint_score": done.joints.scores,
        "img_shape": list(done.geometry.size),
        "num_frames": len(done.frames),
        "crc32": _checksums(done.frames),
    }


def compact_frames_and_keypoints(case: Any, row: Any) -> dict[str, Any]:
    given, settings = row.inputs, dict(row.settings)
    frames = np.ascontiguousarray(given["frames_nchw"].transpose(0, 2, 3, 1))
    step = MMCompact(allow_imgpad=settings.pop("allow_outside"), **settings)
    sample = Sample(joints=Joints(given["keypoint"]), frames=frames, geometry=Geometry.whole(tuple(given["img_shape"])))
    done = step(sample, RNG)
    assert done.joints is not None and done.frames is not None and done.geometry is not None
    return {
        "keypoint": done.joints.points,
        "img_shape": list(done.geometry.size),
        "frame_shape": list(done.frames.shape[1:]),
        "frames_small": done.frames[:, ::4, ::4],
        "crc32": _checksums(done.frames),
    }


OPS = {
    "skeleton.compact_frames_and_keypoints": compact_frames_and_keypoints,
    "skeleton.paired_decoding": paired_decoding,
    "skeleton.paired_frame_sampling": paired_frame_sampling,
}
