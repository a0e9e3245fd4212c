"""What the models of this package share: checks of features, segments as fractions of a video, final predictions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from attrs import frozen
from torch import Tensor

from vid_localization.names import sample_label
from vid_localization.post.suppression import post_processing
from vidcore.batch import Batch, Ragged
from vidcore.errors import DataError, UserError
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = [
    "ProposalSelection",
    "check_features",
    "check_lengths",
    "covered_seconds",
    "proposal_scores",
    "proposal_spans",
    "required_targets",
    "target_segments",
    "with_predictions",
]

Target = TypeVar("Target", Tensor, Ragged)


def check_features(inputs: Tensor, channels: int, length: int | None = None) -> None:
    """Raise ``UserError`` if features (B, C, T) do not have this number of channels or this length."""
    if inputs.shape[1] != channels:
        raise UserError(
            f"the model is made for {channels} channels of features (feat_dim), but got {inputs.shape[1]}: they come "
            "from a different recognizer"
        )
    if length is not None and inputs.shape[2] != length:
        _refuse_length("", length, inputs.shape[2])


def check_lengths(batch: Batch, length: int) -> None:
    """Raise ``UserError`` if the features of a sample reach this length only by padding."""
    for sample, found in zip(batch.samples, batch.lengths.get("features", ()), strict=False):
        if int(found) != length:
            _refuse_length(f"{sample_label(sample)}: ", length, int(found))


def _refuse_length(where: str, length: int, found: int) -> None:
    raise UserError(
        f"{where}the model is made for {length} positions of a video, but got {found}: see length of "
        "LoadLocalizationFeature"
    )


def covered_seconds(sample: Sample, interval: int = 1) -> float:
    """Seconds, from the beginning of the video, that its features cover.

    ``feature_duration`` of the sample if it is known; otherwise ``duration`` without the last frames that do not make
    a whole feature of ``interval`` frames.

    Raises:
        DataError: the duration of the sample is not known.
    """
    if sample.feature_duration is not None:
        return sample.feature_duration
    if sample.duration is None:
        raise DataError(f"{sample_label(sample)}: has no duration, which localization needs")
    frames = sample.total_frames
    if interval == 1 or not frames:
        return sample.duration
    return frames // interval * interval / frames * sample.duration


def proposal_spans(sample: Sample) -> Array:
    """Start and end of the proposals in seconds: (n, 2) float64.

    Raises:
        DataError: the sample has no proposals.
    """
    if not isinstance(sample.proposals, Segments):
        raise DataError(f"{sample_label(sample)}: has no proposals")
    return np.asarray(sample.proposals.spans, np.float64)


def proposal_scores(sample: Sample) -> Array:
    """Scores of the proposals: (n,) float64; 1 for proposals without scores."""
    proposals = sample.proposals
    if not isinstance(proposals, Segments) or proposals.scores is None:
        return np.ones(0 if proposals is None else len(proposals))
    return proposals.scores


def target_segments(sample: Sample, interval: int = 1) -> Array:
    """The true segments as fractions of what the features cover: (n, 2) float64 within [0, 1].

    Args:
        interval: see ``covered_seconds``.

    Raises:
        UserError: the sample is not annotated; an empty list of segments is an annotation.
    """
    if sample.segments is None:
        raise UserError(f"{sample_label(sample)}: training needs the true segments of every sample")
    out: Array = np.clip(np.asarray(sample.segments.spans, np.float64) / covered_seconds(sample, interval), 0, 1)
    return out


def required_targets(batch: Batch, kind: type[Target], *names: str) -> list[Target]:
    """The targets of a batch by name, all of one kind (``Tensor`` or ``Ragged``).

    Raises:
        UserError: a target is missing, because a sample is not annotated.
    """
    found = []
    for name in names:
        target = batch.targets.get(name)
        if not isinstance(target, kind):
            who = next((sample_label(s) for s in batch.samples if s.segments is None), "the batch")
            raise UserError(f"{who}: training needs the true segments of every sample (no target {name!r})")
        found.append(target)
    return found


def with_predictions(
    sample: Sample, rows: Array, seconds: float, labels: Sequence[int] | Array | None = None
) -> Sample:
    """The sample with predicted segments, best first.

    Without ``labels``, if the sample has scores of the classes of the whole video, each row becomes one segment for
    every class with a score above 0; the two scores are multiplied.

    Args:
        rows: (n, 3) start and end as fractions, and score; best first.
        seconds: length that the fractions refer to.
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


@frozen
class ProposalSelection:
    """The last step of proposal networks: from scored proposals to the segments of a sample."""

    soft_nms_alpha: float
    soft_nms_low_threshold: float
    soft_nms_high_threshold: float
    top_k: int
    """Segments of a video."""
    interval: int
    """See ``covered_seconds``."""

    def apply(self, sample: Sample, rows: Array) -> Sample:
        """The sample with the best of its proposals as ``segments``.

        Args:
            rows: (n, 3) start and end as fractions of what the features cover, and score.
        """
        thresholds = self.soft_nms_low_threshold, self.soft_nms_high_threshold
        kept = post_processing(rows, self.soft_nms_alpha, *thresholds, self.top_k)
        return with_predictions(sample, kept, covered_seconds(sample, self.interval))
