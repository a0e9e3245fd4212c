"""Which frames to read: steps that set ``clip``, with the sample's ``start_index`` included."""

from __future__ import annotations

from typing import Literal

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.records import Clip
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import at_least, one_of

__all__ = [
    "DenseSampleFrames",
    "SampleFrames",
    "UniformSample",
    "UntrimmedSampleFrames",
    "frame_total",
    "with_clips",
]


def frame_total(sample: Sample) -> int:
    """Number of frames to choose from. Raises ``VideoError`` where there are none."""
    if sample.total_frames is None:
        raise UserError("the number of frames is not known yet: put OpenVideo before the sampling step")
    if sample.total_frames < 1:
        raise VideoError(sample.path or "the sample", "has no frames")  # a bad sample: the others are read on
    return sample.total_frames


def with_clips(sample: Sample, frames: Array, clip_len: int, frame_interval: int | None) -> Sample:
    """Set the frames (clips, clip_len), counted from 0."""
    indices = (frames + sample.start_index).reshape(-1).astype(np.int64)
    return sample.replace(clip=Clip(indices, clip_len, frames.size // clip_len, frame_interval))


@frozen
class SampleFrames:
    """Clips of ``clip_len`` frames, ``frame_interval`` apart, ``num_clips`` of them spread over the video.

    While training a clip starts anywhere in its own part of the video; with ``test_mode``
    the clips are evenly spaced from the first to the last possible one (a single one in the
    middle; clips of one frame in the middle of equal parts). ``TSN`` sampling is
    ``clip_len=1``.

    In place of ``frame_interval`` the distance can be tied to time, so that videos of any
    frame rate are seen alike: ``target_fps`` stretches it by the rate of the video over
    ``target_fps`` (with ``frame_interval=1``: frames at that rate), ``clip_seconds`` gives
    the length of the clip.
    """

    clip_len: int = field(validator=at_least(1))
    frame_interval: int = field(default=1, validator=at_least(1))
    num_clips: int = field(default=1, validator=at_least(1))
    temporal_jitter: bool = False
    """Move every frame later by a random number of frames below ``frame_interval``."""
    twice_sample: bool = False
    """In test mode: twice as many clips."""
    out_of_bound_opt: Literal["loop", "repeat_last"] = field(default="loop", validator=one_of("loop", "repeat_last"))
    """What stands where the video has ended: its beginning again, or the last frame of the clip inside it
    (the first of the video where none of the clip is)."""
    test_mode: bool = False
    keep_tail_frames: bool = False
    """While training: parts of equal length in fractions of frames, which leave no frame at the end out."""
    target_fps: float | None = field(default=None, validator=at_least(1e-3))
    clip_seconds: float | None = field(default=None, validator=at_least(1e-3))

    def __attrs_post_init__(self) -> None:
        if self.target_fps is not None and self.clip_seconds is not None:
            raise UserError("SampleFrames: give target_fps or clip_seconds, not both")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        total = frame_total(sample)
        span = self._timed_span(sample)
        starts = self._test_starts(total, span) if self.test_mode else self._train_starts(total, span, rng)
        frames = starts[:, None] + self.offsets(sample)
        if self.temporal_jitter:
            frames += rng.integers(self.frame_interval, size=frames.shape)
        return with_clips(sample, self._bounded(frames, total), self.clip_len, self.frame_interval)

    def offsets(self, sample: Sample) -> Array:
        """Where the frames of a clip stand, counted from its first: (clip_len,) int64."""
        span = self._timed_span(sample)
        if span is None:
            return np.arange(self.clip_len) * self.frame_interval
        return np.linspace(0, span - 1, self.clip_len).astype(np.int64)

    def _timed_span(self, sample: Sample) -> float | None:
        """Frames covered by a clip where time decides that, fractions included."""
        if self.clip_seconds is not None:
            if not sample.fps:
                raise UserError(f"{sample.path}: clip_seconds needs the frame rate, which is not known")
            return max(1.0, self.clip_seconds * sample.fps)
        if self.target_fps is not None:
            rate = sample.fps or self.target_fps
            return max(1.0, self.clip_len * self.frame_interval * rate / self.target_fps)
        return None

    def _test_starts(self, total: int, span: float | None) -> Array:
        count = self.num_clips * (2 if self.twice_sample else 1)
        if self.clip_len == 1:
            step = total / self.num_clips
            starts = np.arange(self.num_clips) * step
            middle = starts + step / 2
            return np.concatenate([middle, starts] if self.twice_sample else [middle]).astype(np.int64)
        room = max(total - ((self.clip_len - 1) * self.frame_interval + 1 if span is None else span), 0)
        if count == 1:
            return np.array([int(room / 2)])
        step = room / max(self.num_clips - 1, 1)
        if span is not None:
            step = np.floor(step)
        return np.round(np.arange(count) * step).astype(np.int64)

    def _train_starts(self, total: int, span: float | None, rng: np.random.Generator) -> Array:
        covered = self.clip_len * self.frame_interval if span is None else int(span)
        places, clips = total - covered + 1, np.arange(self.num_clips)
        if places <= 0:
            return np.zeros(self.num_clips, np.int64)
        if self.keep_tail_frames:
            return ((clips + rng.random(self.num_clips)) * (places / self.num_clips)).astype(np.int64)
        part = places // self.num_clips
        if part > 0:
            return clips * part + rng.integers(part, size=self.num_clips)
        if total > max(self.num_clips, covered):
            return np.sort(rng.integers(places, size=self.num_clips))
        return np.round(clips * (places / self.num_clips)).astype(np.int64)

    def _bounded(self, frames: Array, total: int) -> Array:
        if self.out_of_bound_opt == "loop":
            return frames % total
        last = np.where(frames < total, frames, 0).max(axis=1, keepdims=True)
        return np.where(frames < total, frames, last)


@frozen
class DenseSampleFrames(SampleFrames):
    """``num_clips`` clips spread over ``sample_range`` frames (Lin et al., TSM: dense sampling).

    While training that stretch lies anywhere in the video; with ``test_mode`` it is taken from
    ``num_sample_positions`` evenly spaced places, which gives ``num_clips`` times as many clips.
    """

    sample_range: int = field(default=64, validator=at_least(1))
    num_sample_positions: int = field(default=10, validator=at_least(1))

    def _test_starts(self, total: int, span: float | None) -> Array:
        last = max(0, total - self.sample_range)
        return self._dense(np.linspace(0, last, self.num_sample_positions).astype(np.int64), total)

    def _train_starts(self, total: int, span: float | None, rng: np.random.Generator) -> Array:
        return self._dense(rng.integers(max(0, total - self.sample_range) + 1, size=1), total)

    def _dense(self, positions: Array, total: int) -> Array:
        clips = np.arange(self.num_clips) * (self.sample_range // self.num_clips)
        return ((positions[:, None] + clips) % total).reshape(-1)


@frozen
class UniformSample:
    """One frame from each of ``clip_len`` equal parts of the whole video: random, or fixed in ``test_mode``.

    With several clips in test mode the frames stand at successive fractions of their parts.
    """

    clip_len: int = field(validator=at_least(1))
    num_clips: int = field(default=1, validator=at_least(1))
    test_mode: bool = False

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        length = (frame_total(sample) - 1) / self.clip_len
        edges = np.round(np.arange(self.clip_len + 1) * length).astype(np.int64)
        if self.test_mode:
            shifts = (length / (self.num_clips + 1) * np.arange(1, self.num_clips + 1)).astype(np.int64)
            frames = edges[:-1] + shifts[:, None]
        else:
            frames = rng.integers(edges[:-1], edges[1:] + 1, size=(self.num_clips, self.clip_len))
        return with_clips(sample, frames, self.clip_len, None)


@frozen
class UntrimmedSampleFrames:
    """A short clip around every ``clip_interval``-th frame of a long video, its first in half that distance.

    A video that ends before the first gets one clip, around its middle.
    """

    clip_len: int = field(default=1, validator=at_least(1))
    clip_interval: int = field(default=16, validator=at_least(1))
    frame_interval: int = field(default=1, validator=at_least(1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        total = frame_total(sample)
        first = self.clip_interval // 2
        centres = np.arange(first if first < total else total // 2, total, self.clip_interval)
        offsets = (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        frames = np.clip(centres[:, None] + offsets, 0, total - 1)
        return with_clips(sample, frames, self.clip_len, self.frame_interval)
