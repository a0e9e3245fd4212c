"""Frames and skeletons of one video together: MMUniformSampleFrames, MMDecode, MMCompact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from attrs import field, frozen

from vid_skeleton.missing import joints_of, title
from vid_skeleton.records import PoseClip
from vid_skeleton.transforms.compact import CompactBox, compacted, ratio_pair
from vid_skeleton.transforms.decoding import joints_at
from vid_skeleton.transforms.sampling import UniformSampleFrames
from vidcore.errors import AnnotationError, UserError
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.transforms.geometry import current
from vidcore.transforms.loading import Decode
from vidcore.transforms.pixels import realize
from vidcore.transforms.sampling import SeveralClips
from vidcore.validators import at_least

__all__ = ["MMCompact", "MMDecode", "MMUniformSampleFrames"]

MODALITIES = ("RGB", "Pose")


def _lengths(step: object, attribute: object, value: dict[str, int]) -> None:
    if "RGB" not in value or set(value) - set(MODALITIES) or min(value.values()) < 1:
        raise UserError(
            f"{type(step).__name__}: clip_len must have a positive number for RGB and, if wanted, Pose, got {value}"
        )


@frozen
class MMUniformSampleFrames(SeveralClips):
    """Sample frames of a video and, more densely, of its skeletons, each as ``UniformSampleFrames`` does."""

    clip_len: dict[str, int] = field(validator=_lengths)
    """Frames in a clip: ``{ RGB = 8, Pose = 32 }``; without ``Pose``, all skeletons are kept."""
    num_clips: int = field(default=1, validator=at_least(1))
    """Number of clips of each."""
    test_mode: bool = False
    """Whether to make the same choice each time."""
    seed: int = field(default=255, validator=at_least(0))
    """Of the choice in test mode."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        chosen = {
            name: UniformSampleFrames(length, self.num_clips, self.test_mode, self.seed)(sample, rng).clip
            for name, length in sorted(self.clip_len.items(), reverse=True)
        }
        sample = sample.replace(clip=chosen["RGB"])
        if (pose := chosen.get("Pose")) is None:
            return sample
        return sample.replace(extra={**sample.extra, "pose_clip": PoseClip(pose.indices)})


@frozen
class MMDecode(Decode):
    """Read the sampled frames, keep the sampled skeletons, and scale these to the size of the frames.

    Joints without scores get the score 1. Published annotations name videos without a suffix: the file is ``NAME.mp4``,
    ``NAME.avi`` or, as in NTU RGB+D, ``NAME_rgb.avi``.
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.clip is None:
            raise UserError("MMDecode: no frames were sampled: put MMUniformSampleFrames before it")
        joints, chosen = joints_of(sample, self), sample.extra.get("pose_clip")
        if isinstance(chosen, PoseClip):
            joints = joints_at(sample, joints, chosen.indices)
        path = sample.path
        if path is not None and not Path(path).suffix and not Path(path).is_dir():
            files = [f"{path}{ending}" for ending in (".mp4", ".avi", "_rgb.avi")]
            path = next((file for file in files if Path(file).exists()), files[0])
        scores = np.ones(joints.points.shape[:3], np.float32) if joints.scores is None else joints.scores
        if sample.geometry is None or min(sample.geometry.size) < 1:
            raise AnnotationError(f"{title(sample)}: the size of the picture in which its joints are is not known")
        height, width = sample.geometry.size
        extra = {name: record for name, record in sample.extra.items() if name != "pose_clip"}
        decoded = super().__call__(sample.replace(path=path, joints=None, geometry=None, extra=extra), rng)
        found = current(decoded).size
        scaled = Joints(joints.points, scores).resized((found[1] / width, found[0] / height))
        return decoded.replace(joints=scaled)


@frozen
class MMCompact(CompactBox):
    """Crop frames and skeletons to the box around all people; parts beyond the picture are black."""

    hw_ratio: float | Sequence[float] | None = field(default=1.0, converter=ratio_pair)
    """Smallest and largest height / width, or one number for both; the box grows."""
    allow_imgpad: bool = True
    """Whether the box may reach beyond the picture."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        cut, box = compacted(self, realize(sample))
        if box is None or cut.frames is None:
            return cut
        left, top, right, bottom = box
        count, height, width, channels = cut.frames.shape
        frames = np.zeros((count, bottom - top, right - left, channels), cut.frames.dtype)
        rows, columns = slice(max(0, top), min(height, bottom)), slice(max(0, left), min(width, right))
        inside = frames[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
        inside[...] = cut.frames[:, rows, columns]
        return cut.replace(frames=frames)
