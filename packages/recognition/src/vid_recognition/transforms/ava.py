"""Clips around annotated timestamps: AVA (Gu et al. 2018, arXiv:1705.08421)."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.sample import Sample
from vidcore.transforms.sampling import frame_total, with_clips
from vidcore.validators import at_least

__all__ = ["SampleAVAFrames"]


@frozen
class SampleAVAFrames:
    """Samples a clip centred on the annotated timestamp, clamped to its shot.

    Needs ``fps``, and in ``meta``: ``timestamp`` and ``timestamp_start`` (of the first frame), both in
    seconds, and ``shot_info`` (first frame of the shot, and first frame after it, from 0), unless
    ``total_frames`` is known. While training, each frame is jittered by up to half an interval.
    ``compat``: as published, clips from folders that count from 1 are one frame late.
    """

    clip_len: int = field(validator=at_least(1))
    """Frames in the clip."""
    frame_interval: int = field(default=2, validator=at_least(1))
    """Distance between them, in frames."""
    test_mode: bool = False
    """Do not jitter."""
    compat: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        missing = [k for k in ("timestamp", "timestamp_start") if k not in sample.meta]
        if missing or not sample.fps:
            raise UserError(f"SampleAVAFrames: the sample has no {', '.join(missing) or 'fps'}")
        if sample.total_frames is not None:
            first, end = 0, frame_total(sample)
        elif "shot_info" in sample.meta:
            first, end = sample.meta["shot_info"]
        else:
            raise UserError("SampleAVAFrames: the sample has neither total_frames nor shot_info")
        centre = int(sample.fps * (sample.meta["timestamp"] - sample.meta["timestamp_start"]))
        if self.compat:
            centre += sample.start_index
        frames = centre + (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        if not self.test_mode:
            half = self.frame_interval // 2
            frames += rng.integers(-half, self.frame_interval - half, size=self.clip_len)
        return with_clips(sample, np.clip(frames, first, end - 1)[None], self.clip_len, self.frame_interval)
