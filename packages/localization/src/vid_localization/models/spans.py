"""Between seconds and fractions of a video, and overlaps of segments, for all models of this package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vid_localization.names import shown
from vidcore.batch import Batch
from vidcore.errors import DataError, UserError
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = [
    "candidate_scores",
    "candidates",
    "check_features",
    "check_lengths",
    "covered_seconds",
    "overlaps",
    "ranked",
    "shares",
    "targets_of",
    "truth",
]


def check_features(inputs: Tensor, channels: int, length: int | None = None) -> None:
    """Raise ``UserError`` where features (B, C, T) are not what a network is made for: of other channels or length."""
    if inputs.shape[1] != channels:
        raise UserError(
            f"the model is made for {channels} channels of features (feat_dim), but got {inputs.shape[1]}: features of "
            "another recognizer"
        )
    if length is not None and inputs.shape[2] != length:
        raise UserError(
            f"the model is made for {length} positions of a video, but got {inputs.shape[2]}: see length of "
            "LoadLocalizationFeature"
        )


def covered_seconds(sample: Sample, interval: int = 1) -> float:
    """Seconds, from the beginning of the video, that its features cover.

    ``feature_duration`` of the sample where it is known. Otherwise the last frames that do not make a
    whole feature of ``interval`` frames are taken off its ``duration``.

    Raises:
        DataError: the sample does not know how long it is.
    """
    if sample.feature_duration is not None:
        return sample.feature_duration
    if sample.duration is None:
        raise DataError(f"{shown(sample)}: has no duration, which localization needs")
    frames = sample.total_frames
    if interval == 1 or not frames:
        return sample.duration
    return frames // interval * interval / frames * sample.duration


def candidates(sample: Sample) -> Array:
    """The candidate segments in seconds: (n, 2) float64.

    Raises:
        DataError: the sample has none.
    """
    if not isinstance(sample.proposals, Segments):
        raise DataError(f"{shown(sample)}: has no proposals")
    return np.asarray(sample.proposals.spans, np.float64)


def candidate_scores(sample: Sample) -> Array:
    """(n,) float64: how good each candidate is; 1 where nobody says."""
    proposals = sample.proposals
    if not isinstance(proposals, Segments) or proposals.scores is None:
        return np.ones(0 if proposals is None else len(proposals))
    return proposals.scores


def truth(sample: Sample, interval: int = 1) -> Array:
    """The true segments as fractions of what the features cover: (n, 2) float64 within [0, 1].

    Args:
        interval: as of ``covered_seconds``.

    Raises:
        UserError: the sample has no annotation at all (an empty list of segments is one).
    """
    if sample.segments is None:
        raise UserError(f"{shown(sample)}: training needs the true segments of every sample")
    out: Array = np.clip(np.asarray(sample.segments.spans, np.float64) / covered_seconds(sample, interval), 0, 1)
    return out


def targets_of(batch: Batch, *names: str) -> list[Any]:
    """The targets of a batch by name.

    Raises:
        UserError: a sample has no annotation, of which ``Model.sample_step`` would have made them.
    """
    if missing := [name for name in names if name not in batch.targets]:
        who = next((shown(s) for s in batch.samples if s.segments is None), "the batch")
        raise UserError(f"{who}: training needs the true segments of every sample (no target {missing[0]!r})")
    return [batch.targets[name] for name in names]


def check_lengths(batch: Batch, length: int, name: str = "features") -> None:
    """Raise ``UserError`` where features of a sample are padded to a length that the network is made for."""
    for sample, found in zip(batch.samples, batch.lengths.get(name, ()), strict=False):
        if int(found) != length:
            raise UserError(
                f"{shown(sample)}: the model is made for {length} positions of a video, but got {int(found)}: see "
                "length of LoadLocalizationFeature"
            )


def shares(starts: Tensor, ends: Tensor, segments: Tensor) -> Tensor:
    """Largest part of each interval that lies within one segment.

    Args:
        starts, ends: (...) the intervals.
        segments: (n, 2); with none every share is 0.

    Returns:
        (...) of the same kind.
    """
    inside = torch.minimum(ends[..., None], segments[:, 1]) - torch.maximum(starts[..., None], segments[:, 0])
    part = inside.clamp(min=0) / (ends - starts)[..., None]
    return torch.cat((part, torch.zeros_like(starts)[..., None]), -1).amax(-1)


def overlaps(starts: Tensor, ends: Tensor, segments: Tensor) -> Tensor:
    """Intersection over union of each interval with the segment that fits it best; arguments as of ``shares``."""
    inside = torch.minimum(ends[..., None], segments[:, 1]) - torch.maximum(starts[..., None], segments[:, 0])
    inside = inside.clamp(min=0)
    union = (ends - starts)[..., None] + (segments[:, 1] - segments[:, 0]) - inside
    return torch.cat((inside / union, torch.zeros_like(starts)[..., None]), -1).amax(-1)


def ranked(sample: Sample, rows: Array, seconds: float, labels: Sequence[int] | Array | None = None) -> Sample:
    """The sample with predicted segments, best first.

    Where these have no classes of their own, and the sample comes with scores of the classes of its whole video,
    each becomes a segment of every class above 0, with the product of both scores.

    Args:
        rows: (n, 3) start and end as fractions, and score; best first.
        seconds: what a fraction of 1 means.
        labels: (n,) classes.
    """
    if labels is None and sample.scores is not None:
        classes = np.flatnonzero(sample.scores > 0)
        scores = np.outer(rows[:, 2], sample.scores[classes]).ravel()
        order = np.argsort(-scores, kind="stable")
        rows = rows.repeat(len(classes), 0)[order]
        rows[:, 2], labels = scores[order], np.tile(classes, len(rows) // max(len(classes), 1))[order]
    found = Segments(
        spans=np.asarray(rows[:, :2], np.float64) * seconds,
        scores=np.asarray(rows[:, 2], np.float64),
        labels=None if labels is None else np.asarray(labels, np.int64),
    )
    return sample.replace(segments=found)
