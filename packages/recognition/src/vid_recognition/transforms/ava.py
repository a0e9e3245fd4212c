"""Clips around annotated seconds: AVA (Gu et al. 2018, arXiv:1705.08421)."""

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
    """A clip centred on the annotated second, clamped to its shot.

    Needs ``fps``, and in ``meta``: ``timestamp`` and ``timestamp_start`` (seconds; the second
    at which the frames begin) and ``shot_info`` (first frame and first frame after the shot, from 0),
    which ``total_frames`` replaces where it is known. While training every frame moves by up to
    half an interval. ``compat``: as published, frames of folders that count from 1 are taken one later.
    """

    clip_len: int = field(validator=at_least(1))
    frame_interval: int = field(default=2, validator=at_least(1))
    test_mode: bool = False
    compat: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        missing = [k for k in ("timestamp", "timestamp_start") if k not in sample.meta]
        if missing or not sample.fps:
            raise UserError(f"SampleAVAFrames needs {', '.join(missing) or 'fps'}, which the sample does not have")
        if sample.total_frames is not None:
            first, end = 0, frame_total(sample)
        elif "shot_info" in sample.meta:
            first, end = sample.meta["shot_info"]
        else:
            raise UserError("SampleAVAFrames needs total_frames or shot_info, which the sample does not have")
        centre = int(sample.fps * (sample.meta["timestamp"] - sample.meta["timestamp_start"]))
        if self.compat:
            centre += sample.start_index
        frames = centre + (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        if not self.test_mode:
            half = self.frame_interval // 2
            frames += rng.integers(-half, self.frame_interval - half, size=self.clip_len)
        return with_clips(sample, np.clip(frames, first, end - 1)[None], self.clip_len, self.frame_interval)
