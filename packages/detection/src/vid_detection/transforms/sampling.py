"""Clips around key frames: AVA (Gu et al. 2018, arXiv:1705.08421) and sets of tubes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.records import EPSILON
from vidcore.sample import Sample
from vidcore.transforms.sampling import frame_total, with_clips
from vidcore.validators import at_least
from vidcore.video.checks import ReaderBase

__all__ = ["SampleAVAFrames"]

SLACK = 1.0
"""Seconds by which a video may be shorter than its annotation: the clip is clamped to it."""


@frozen
class SampleAVAFrames:
    """Samples a clip centred on the key frame, clamped to its shot.

    Needs in ``meta``: ``timestamp`` and ``timestamp_start`` (of the first frame), both in seconds, or ``frame``, the
    number of the key frame from 0; and ``shot_info`` (first frame of the shot, and first frame after it, from 0),
    unless ``total_frames`` is known. The key frame is the one that is on the screen at that time; without an open
    video, it follows from ``fps``. While training, each frame is jittered by up to half an interval.
    ``compat``: as published, clips from folders that count from 1 are one frame late, and key frames outside of the
    video are clamped to it.

    Raises ``VideoError`` if the key frame lies outside of the video, which ``on_error`` handles.
    """

    clip_len: int = field(validator=at_least(1))
    """Frames in the clip."""
    frame_interval: int = field(default=2, validator=at_least(1))
    """Distance between them, in frames."""
    test_mode: bool = False
    """Do not jitter."""
    compat: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if sample.total_frames is not None:
            first, end = 0, frame_total(sample)
        elif "shot_info" in sample.meta:
            first, end = sample.meta["shot_info"]
        else:
            raise UserError("SampleAVAFrames: the sample has neither total_frames nor shot_info")
        centre = self._centre(sample, end)
        if self.compat:
            centre += sample.start_index
        frames = centre + (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        if not self.test_mode:
            half = self.frame_interval // 2
            frames += rng.integers(-half, self.frame_interval - half, size=self.clip_len)
        return with_clips(sample, np.clip(frames, first, end - 1)[None], self.clip_len, self.frame_interval)

    def _centre(self, sample: Sample, end: int) -> int:
        """Return the number of the key frame, from 0."""
        meta, path = sample.meta, sample.path or sample.key or "the sample"
        if "frame" in meta:
            if meta["frame"] >= end:
                raise VideoError(path, f"has {end} frames, and no key frame {meta['frame'] + 1}")
            return int(meta["frame"])
        missing = [k for k in ("timestamp", "timestamp_start") if k not in meta]
        if missing or not sample.fps:
            raise UserError(f"SampleAVAFrames: the sample has no {', '.join(missing) or 'fps'}")
        second = meta["timestamp"] - meta["timestamp_start"]
        if sample.total_frames is not None and not self.compat:
            _check(path, meta, second, end / sample.fps)
        times = sample.video.times() if isinstance(sample.video, ReaderBase) else None
        if times is None:
            return int(sample.fps * second + EPSILON)
        return max(int(np.searchsorted(times, second + EPSILON, "right")) - 1, 0)


def _check(path: str, meta: Mapping[str, Any], second: float, duration: float) -> None:
    annotated, begin = meta.get("timestamp_end"), meta["timestamp_start"]
    if annotated is not None and begin and duration > annotated - begin + 60:
        raise VideoError(
            path,
            f"lasts {duration:.0f} s, but its part from second {begin:g} to {annotated:g} has {annotated - begin:g}: "
            "files of uncut movies need timestamp_start = 0",
        )
    if not -SLACK <= second <= duration + SLACK:
        hint = f" (it begins at {begin:g})" if begin else ""
        raise VideoError(path, f"lasts {duration:.1f} s{hint}, and has no key frame at second {meta['timestamp']:g}")
