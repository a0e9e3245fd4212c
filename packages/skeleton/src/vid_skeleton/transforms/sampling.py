"""Sampling of frames of skeletons."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

from vidcore.sample import Sample
from vidcore.transforms.sampling import SeveralClips, frame_total, with_clips
from vidcore.typing import Array
from vidcore.validators import at_least

__all__ = ["UniformSampleFrames"]


@frozen
class UniformSampleFrames(SeveralClips):
    """Sample a random frame from each of ``clip_len`` equal parts of the video (Duan et al., arXiv:2104.13586).

    A video of less than ``clip_len`` frames is repeated from a random frame; one of less than twice that loses random
    frames. With ``test_mode``, the choice depends on ``seed`` and the number of frames only.
    """

    clip_len: int = field(validator=at_least(1))
    """Frames in a clip."""
    num_clips: int = field(default=1, validator=at_least(1))
    """Number of clips."""
    test_mode: bool = False
    """Whether to make the same choice each time."""
    seed: int = field(default=255, validator=at_least(0))
    """Of the choice in test mode."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        total = frame_total(sample)
        frames = self._test_frames(total) if self.test_mode else self._train_frames(total, rng)
        return with_clips(sample, frames, self.clip_len, None)

    def _train_frames(self, total: int, rng: np.random.Generator) -> Array:
        if total < self.clip_len:
            return (rng.integers(total, size=(self.num_clips, 1)) + np.arange(self.clip_len)) % total
        if total < 2 * self.clip_len:
            places = [rng.permutation(self.clip_len + 1)[: total - self.clip_len] for _ in range(self.num_clips)]
            return np.stack([self._without(skipped) for skipped in places])
        edges = self._edges(total)
        return rng.integers(edges[:-1], edges[1:], size=(self.num_clips, self.clip_len))

    def _test_frames(self, total: int) -> Array:
        if total < self.clip_len:
            clips = np.arange(self.num_clips)
            starts = clips if total < self.num_clips else clips * total // self.num_clips
            return (starts[:, None] + np.arange(self.clip_len)) % total
        fixed = np.random.RandomState(self.seed)  # published scores were measured with the frames that it chooses
        if total < 2 * self.clip_len:
            size = total - self.clip_len
            places = [fixed.choice(self.clip_len + 1, size, replace=False) for _ in range(self.num_clips)]
            return np.stack([self._without(skipped) for skipped in places])
        edges = self._edges(total)
        return edges[:-1] + np.stack([fixed.randint(np.diff(edges)) for _ in range(self.num_clips)])

    def _without(self, places: Array) -> Array:
        """Return ``clip_len`` frames, where one frame is left out before each of some positions: (clip_len,)."""
        skipped = np.zeros(self.clip_len + 1, np.int64)
        skipped[places] = 1
        return np.arange(self.clip_len) + skipped.cumsum()[:-1]

    def _edges(self, total: int) -> Array:
        return np.arange(self.clip_len + 1) * total // self.clip_len
