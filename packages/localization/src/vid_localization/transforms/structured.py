"""Sampling of proposals for training, and of the frames of their stages (SSN, arXiv:1704.06228, sections 3 and 4)."""

from __future__ import annotations

import math

import numpy as np
from attrs import field, frozen

from vid_localization.names import sample_label
from vid_localization.overlaps import best_iou, iou_and_coverage, regression_targets
from vid_localization.records import ProposalStages
from vidcore.errors import DataError, UserError
from vidcore.records import Clip, Segments
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.validators import at_least

__all__ = [
    "BACKGROUND",
    "FOREGROUND",
    "INCOMPLETE",
    "SampleProposalFrames",
    "SampleProposals",
]

FOREGROUND, INCOMPLETE, BACKGROUND = range(3)
"""Kinds of proposals."""
TRIES = 100
"""Number of random segments that are tried if no listed proposal is background."""


@frozen
class SampleProposals:
    """Draw complete, incomplete and background proposals of a video at random, for training.

    Replaces ``proposals``, and sets the targets ``proposal_types`` (P,), ``proposal_labels`` (P,) from 1, 0 for
    background, and ``regression_targets`` (P, 2) float32, not normalised. True segments count as complete proposals.
    If a video has no listed proposal of a kind, background is a random segment that touches no true segment, and an
    incomplete proposal is a random piece of a true segment (published training took them from other videos).

    Args:
        foreground, incomplete, background: number of proposals of each kind.
        positive_iou_threshold: least overlap of a complete proposal with a true segment.
        incomplete_iou_threshold: largest overlap of an incomplete proposal.
        incomplete_overlap_threshold: least fraction of an incomplete proposal that lies within a true segment.
        background_iou_threshold: largest overlap of background.
        background_coverage_threshold: least length of background, as a fraction of the video.
    """

    foreground: int = field(default=1, validator=at_least(1))
    incomplete: int = field(default=6, validator=at_least(1))
    background: int = field(default=1, validator=at_least(1))
    positive_iou_threshold: float = 0.7
    incomplete_iou_threshold: float = 0.3
    incomplete_overlap_threshold: float = 0.7
    background_iou_threshold: float = 0.01
    background_coverage_threshold: float = 0.01

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if segments have no classes, ``DataError`` if the video has no background."""
        true = sample.segments
        if true is None or true.labels is None or not len(true):
            raise UserError(
                f"{sample_label(sample)}: training needs true segments with classes; see SSNDataset.filter_gt"
            )
        seconds, truth = _seconds(sample), true.spans
        listed = sample.proposals.spans if isinstance(sample.proposals, Segments) else np.zeros((0, 2))
        proposals = np.concatenate((truth, listed[listed[:, 1] > listed[:, 0]]))
        iou, coverage = (overlaps.max(1) for overlaps in iou_and_coverage(proposals[:, None], truth))
        cover = (proposals[:, 1] - proposals[:, 0]) / seconds
        complete = proposals[iou >= self.positive_iou_threshold]
        cut = proposals[(iou <= self.incomplete_iou_threshold) & (coverage >= self.incomplete_overlap_threshold)]
        if not len(cut):
            cut = self._random_pieces(truth, rng)
        empty = proposals[(iou <= self.background_iou_threshold) & (cover >= self.background_coverage_threshold)]
        if not len(empty):
            empty = self._random_background(sample, truth, seconds, rng)
        counts = ((complete, self.foreground), (cut, self.incomplete), (empty, self.background))
        chosen = np.concatenate([_draw(pool, count, rng) for pool, count in counts])
        types = np.repeat([FOREGROUND, INCOMPLETE, BACKGROUND], [count for _, count in counts])
        best = iou_and_coverage(chosen[:, None], truth)[0].argmax(1)
        targets = np.where((types == FOREGROUND)[:, None], regression_targets(chosen, truth[best]), 0)
        return sample.replace(proposals=Segments(chosen)).with_targets(
            proposal_types=types,
            proposal_labels=np.where(types == BACKGROUND, 0, true.labels[best] + 1),
            regression_targets=targets.astype(np.float32),
        )

    def _random_pieces(self, truth: Array, rng: np.random.Generator) -> Array:
        whole = truth[rng.integers(len(truth), size=self.incomplete)]
        lengths = whole[:, 1] - whole[:, 0]
        pieces = lengths * self.incomplete_iou_threshold * rng.uniform(0.3, 1, self.incomplete)
        starts = whole[:, 0] + rng.random(self.incomplete) * (lengths - pieces)
        return np.stack((starts, starts + pieces), 1)

    def _random_background(self, sample: Sample, truth: Array, seconds: float, rng: np.random.Generator) -> Array:
        lengths = seconds * rng.uniform(self.background_coverage_threshold, 0.5, TRIES) ** 2
        starts = rng.random(TRIES) * (seconds - lengths)
        tried = np.stack((starts, starts + lengths), 1)
        free: Array = tried[best_iou(tried, truth) == 0]
        if not len(free):
            raise DataError(f"{sample_label(sample)}: has no background, the true segments cover the whole video")
        return free


@frozen
class SampleProposalFrames:
    """Sample frames of proposals, with a starting stage before and an ending stage after each.

    In training every stage is split into equal parts, and a clip starts at a random place in each: sets ``clip``,
    proposal after proposal, and the input ``scales`` (P, 2) float32, the fraction of the starting and of the ending
    stage that lies within the video. In test mode ``clip`` is every ``test_interval``-th frame of the video, and
    ``extra["stages"]`` are the stages among these frames.

    Args:
        body_segments: parts of the proposal itself.
        aug_segments: parts of the stage before and of the stage after it.
        aug_ratio: length of these stages in lengths of the proposal.
        clip_len: frames of a clip (5 for flow).
        frame_interval: distance between neighbouring frames of a clip.
        test_mode: sample whole videos.
        test_interval: distance between sampled frames in test mode.
    """

    body_segments: int = field(default=5, validator=at_least(1))
    aug_segments: tuple[int, int] = (2, 2)
    aug_ratio: float = field(default=0.5, validator=at_least(0.01))
    clip_len: int = field(default=1, validator=at_least(1))
    frame_interval: int = field(default=1, validator=at_least(1))
    test_mode: bool = False
    test_interval: int = field(default=6, validator=at_least(1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if the sample has no proposals, frames or duration."""
        if not isinstance(sample.proposals, Segments):
            raise UserError(f"{sample_label(sample)}: has no proposals; see SSNDataset and LoadProposalSegments")
        if not sample.total_frames:
            raise UserError(f"{sample_label(sample)}: number of frames is not known; put OpenVideo before this step")
        total = sample.total_frames
        edges, scales = self._stages(sample.proposals.spans / _seconds(sample))
        if self.test_mode:
            starts = np.arange(0, total, self.test_interval)
            ticks = np.floor(edges * total / self.test_interval + 1e-6).astype(np.int64)
            sample = sample.with_extra(stages=ProposalStages(ticks, scales, len(starts)))
        else:
            starts = self._starts(edges * total, rng)
            sample = sample.with_inputs(scales=scales.astype(np.float32))
        frames = starts[:, None] + np.arange(self.clip_len) * self.frame_interval
        indices = frames.clip(0, total - 1).reshape(-1) + sample.start_index
        return sample.replace(clip=Clip(indices, self.clip_len, len(starts), self.frame_interval))

    def _stages(self, segments: Array) -> tuple[Array, Array]:
        """Bounds of the stages as fractions of the video (P, 4), and the fractions within the video (P, 2)."""
        segments = segments.clip(0, 1)
        length = (segments[:, 1] - segments[:, 0]) * self.aug_ratio
        first = np.maximum(segments[:, 0] - length, 0)
        last = np.minimum(segments[:, 1] + length, 1)
        inside = np.stack((segments[:, 0] - first, last - segments[:, 1]), 1)
        scales = inside / np.maximum(length, 1e-9)[:, None]
        return np.stack((first, *segments.T, last), 1), scales

    def _starts(self, edges: Array, rng: np.random.Generator) -> Array:
        """First frames of the clips: (P * S,) int64."""
        counts = (self.aug_segments[0], self.body_segments, self.aug_segments[1])
        starts = []
        for stage, count in enumerate(counts):
            part = (edges[:, stage + 1] - edges[:, stage])[:, None] / count
            where = np.arange(count) + rng.random((len(edges), count))
            starts.append(edges[:, stage, None] + where * part)
        return np.floor(np.concatenate(starts, 1)).astype(np.int64).reshape(-1)


def _draw(pool: Array, count: int, rng: np.random.Generator) -> Array:
    """Draw from a pool, without replacement if it is large enough."""
    out: Array = pool[rng.choice(len(pool), count, replace=len(pool) < count)]
    return out


def _seconds(sample: Sample) -> float:
    if sample.duration is None or not math.isfinite(sample.duration):
        raise UserError(f"{sample_label(sample)}: its duration is not known, which proposals in seconds need")
    return sample.duration
