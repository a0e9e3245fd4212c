"""Predicted and true segments of all videos, over batches and processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from vid_localization.names import video_name
from vidcore.errors import DataError
from vidcore.metrics import SamplePairs
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["CollectedSegments", "FlatSegments"]


@frozen(eq=False)
class FlatSegments:
    """Segments of many videos, one video after the other."""

    segments: Array
    """(n, 2) float64 start and end in seconds."""
    videos: Array
    """(n,) int64 index of the video of each."""
    labels: Array
    """(n,) int64; -1 for segments without class."""
    scores: Array
    """(n,) float64; 1 for true segments."""


class CollectedSegments(SamplePairs):
    """Base of metrics that need the segments of all videos at once."""

    def check(self, predicted: Sample, target: Sample) -> None:
        """Raise ``DataError`` unless both have ``segments``."""
        for sample, which in ((target, "true"), (predicted, "predicted")):
            if sample.segments is None:
                raise DataError(f"{type(self).__name__} needs {which} segments; {video_name(target)} has none")

    def slim(self, sample: Sample) -> Sample:
        """Return the sample with only what metrics and result files need."""
        return Sample(
            index=sample.index,
            key=sample.key,
            path=sample.path,
            duration=sample.duration,
            segments=sample.segments,
            extra={name: r for name, r in sample.extra.items() if name in ("ambiguous", "boundaries")},
        )

    def flat(self) -> tuple[FlatSegments, FlatSegments, int]:
        """Return predicted and true segments of all videos, and the number of videos."""
        pairs = self.pairs()
        predicted, true = ([pair[side] for pair in pairs] for side in (0, 1))
        return _flat(predicted), _flat(true), len(pairs)


def _flat(samples: Sequence[Sample]) -> FlatSegments:
    found = [s.segments for s in samples if s.segments is not None]
    return FlatSegments(
        np.concatenate([np.asarray(segments.spans, np.float64) for segments in found]),
        np.repeat(np.arange(len(found)), [len(segments) for segments in found]),
        np.concatenate([np.full(len(s), -1) if s.labels is None else s.labels for s in found]).astype(np.int64),
        np.concatenate([np.ones(len(s)) if s.scores is None else np.asarray(s.scores, np.float64) for s in found]),
    )
