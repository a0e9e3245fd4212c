"""Sampling of frames: steps that set ``clip``, whose indices include the sample's ``start_index``."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from attrs import asdict, evolve, field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.protocols import SeveralViews
from vidcore.records import Clip
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import at_least, one_of

__all__ = [
    "DenseSampleFrames",
    "SampleFrames",
    "SeveralClips",
    "UniformSample",
    "UntrimmedSampleFrames",
    "frame_total",
    "with_clips",
]


def frame_total(sample: Sample) -> int:
    """Return the number of frames to choose from. Raises ``VideoError`` if there are none."""
    if sample.total_frames is None:
        raise UserError("the number of frames is not known: put OpenVideo before the sampling step")
    if sample.total_frames < 1:
        raise VideoError(sample.path or "the sample", "has no frames")  # a bad sample, which the policy handles
    return sample.total_frames


def with_clips(sample: Sample, frames: Array, clip_len: int, frame_interval: int | None) -> Sample:
    """Set ``clip`` to frames (clips, clip_len), counted from 0."""
    indices = (frames + sample.start_index).reshape(-1).astype(np.int64)
    return sample.replace(clip=Clip(indices, clip_len, frames.size // clip_len, frame_interval))


class SeveralClips(SeveralViews):
    """Base class of attrs classes that take ``num_clips`` clips."""

    num_clips: int

    @property
    def views(self) -> tuple[int, int]:
        """Number of clips, and one crop."""
        return self.num_clips, 1

    def one_view(self: Any, clips: bool) -> Any:
        """Return this step with one clip, or unchanged."""
        return evolve(self, num_clips=1) if clips else self


@frozen
class SampleFrames(SeveralViews):
    """Sample ``num_clips`` clips of ``clip_len`` frames, ``frame_interval`` apart, spread over the video.

    In training, each clip starts at a random frame of its own part of the video; with ``test_mode``
    the clips are evenly spaced from the first to the last possible one (a single clip is in the
    middle; clips of one frame are in the middle of equal parts). ``TSN`` sampling is ``clip_len=1``.

    The interval can also be in time, so that it does not depend on the frame rate of the video:
    ``target_fps`` multiplies it by the rate of the video divided by ``target_fps`` (with
    ``frame_interval=1``: frames at that rate), ``clip_seconds`` sets the length of a clip.
    """

    clip_len: int = field(validator=at_least(1))
    frame_interval: int = field(default=1, validator=at_least(1))
    num_clips: int = field(default=1, validator=at_least(1))
    temporal_jitter: bool = False
    """Shift every frame later by a random number of frames below ``frame_interval``."""
    twice_sample: bool = False
    """In test mode: twice as many clips."""
    out_of_bound_opt: Literal["loop", "repeat_last"] = field(default="loop", validator=one_of("loop", "repeat_last"))
    """Frames after the end of the video: loop from its beginning, or repeat the last frame of the clip inside it (the
    first of the video if there is none)."""
    test_mode: bool = False
    keep_tail_frames: bool = False
    """In training: divide the video into equal parts of fractional length, so that no frame at the end is left out."""
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

    @property
    def views(self) -> tuple[int, int]:
        """Number of clips, and one crop."""
        return self.num_clips * (2 if self.twice_sample and self.test_mode else 1), 1

    def one_view(self, clips: bool) -> SampleFrames:
        """Return this step with one clip in the middle, or only without ``twice_sample``."""
        return evolve(self, num_clips=1 if clips else self.num_clips, twice_sample=False)

    def offsets(self, sample: Sample) -> Array:
        """Return the frames of a clip relative to its first: (clip_len,) int64."""
        span = self._timed_span(sample)
        if span is None:
            return np.arange(self.clip_len) * self.frame_interval
        return np.linspace(0, span - 1, self.clip_len).astype(np.int64)

    def _timed_span(self, sample: Sample) -> float | None:
        """Return the (fractional) number of frames that a clip covers, if its length is in time; else None."""
        if self.clip_seconds is not None:
            if not sample.fps:
                raise UserError(f"{sample.path}: clip_seconds requires the frame rate, which is not known")
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
    """Sample ``num_clips`` clips within ``sample_range`` frames (dense sampling; Lin et al., TSM).

    In training, the range starts at a random frame; with ``test_mode`` there are ``num_sample_positions``
    evenly spaced ranges, and ``num_clips`` clips in each.
    """

    sample_range: int = field(default=64, validator=at_least(1))
    num_sample_positions: int = field(default=10, validator=at_least(1))

    @property
    def views(self) -> tuple[int, int]:
        """Number of clips, and one crop."""
        return self.num_clips * (self.num_sample_positions if self.test_mode else 1), 1

    def one_view(self, clips: bool) -> SampleFrames:
        """Return this step with one range in the middle, and one clip in it or all."""
        return _MiddleRange(**asdict(evolve(self, num_clips=1 if clips else self.num_clips, num_sample_positions=1)))

    def _test_starts(self, total: int, span: float | None) -> Array:
        last = max(0, total - self.sample_range)
        return self._dense(np.linspace(0, last, self.num_sample_positions).astype(np.int64), total)

    def _train_starts(self, total: int, span: float | None, rng: np.random.Generator) -> Array:
        return self._dense(rng.integers(max(0, total - self.sample_range) + 1, size=1), total)

    def _dense(self, positions: Array, total: int) -> Array:
        clips = np.arange(self.num_clips) * (self.sample_range // self.num_clips)
        return ((positions[:, None] + clips) % total).reshape(-1)


@frozen
class _MiddleRange(DenseSampleFrames):
    """A single range in the middle of the video."""

    def _test_starts(self, total: int, span: float | None) -> Array:
        return self._dense(np.array([max(0, total - self.sample_range) // 2]), total)


@frozen
class UniformSample(SeveralClips):
    """Sample one frame from each of ``clip_len`` equal parts of the video: random, or fixed in ``test_mode``.

    In test mode, several clips use successive fractions of the parts.
    """

    clip_len: int = field(validator=at_least(1))
    num_clips: int = field(default=1, validator=at_least(1))
    """Number of clips."""
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
    """Sample a short clip around every ``clip_interval``-th frame of a long video, starting at half that distance.

    A video that ends before the first centre gets one clip, around its middle.
    """

    clip_len: int = field(default=1, validator=at_least(1))
    """Frames in a clip."""
    clip_interval: int = field(default=16, validator=at_least(1))
    frame_interval: int = field(default=1, validator=at_least(1))
    """Distance between them, in frames."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        total = frame_total(sample)
        first = self.clip_interval // 2
        centres = np.arange(first if first < total else total // 2, total, self.clip_interval)
        offsets = (np.arange(self.clip_len) - self.clip_len // 2) * self.frame_interval
        frames = np.clip(centres[:, None] + offsets, 0, total - 1)
        return with_clips(sample, frames, self.clip_len, self.frame_interval)
