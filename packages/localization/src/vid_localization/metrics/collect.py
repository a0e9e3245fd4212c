"""Keeping predicted and true segments of every video, over batches and processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from vid_localization.names import video_name
from vidcore.errors import DataError
from vidcore.metrics import SamplePairs
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["CollectedSegments", "Flat"]


@frozen(eq=False)
class Flat:
    """Segments of many videos end to end."""

    segments: Array
    """(n, 2) float64 start and end in seconds."""
    videos: Array
    """(n,) int64 number of the video of each."""
    labels: Array
    """(n,) int64, -1 where there is none."""
    scores: Array
    """(n,) float64; nothing but 1 for true ones."""


class CollectedSegments(SamplePairs):
    """Base of metrics that need the segments of all videos at once."""

    def check(self, predicted: Sample, target: Sample) -> None:
        """Ask for ``segments`` of both."""
        for sample, which in ((target, "true"), (predicted, "predicted")):
            if sample.segments is None:
                raise DataError(f"{type(self).__name__} needs {which} segments; {video_name(target)} has none")

    def slim(self, sample: Sample) -> Sample:
        """Return what metrics and result files need of a sample."""
        return Sample(
            index=sample.index,
            path=sample.path,
            segments=sample.segments,
            segment_labels=sample.segment_labels,
            segment_scores=sample.segment_scores,
            duration=sample.duration,
            meta={k: v for k, v in sample.meta.items() if k in ("video_name", "ambiguous_segments", "boundary_rows")},
        )

    def flat(self) -> tuple[Flat, Flat, int]:
        """Predicted and true segments of all videos, and the number of videos."""
        pairs = self.pairs()
        predicted, true = ([pair[side] for pair in pairs] for side in (0, 1))
        return _flat(predicted), _flat(true), len(pairs)


def _flat(samples: Sequence[Sample]) -> Flat:
    segments = [np.asarray(s.segments, np.float64).reshape(-1, 2) for s in samples]
    labels = [
        np.full(len(rows), -1) if s.segment_labels is None else s.segment_labels
        for s, rows in zip(samples, segments, strict=True)
    ]
    return Flat(
        np.concatenate(segments),
        np.repeat(np.arange(len(samples)), [len(rows) for rows in segments]),
        np.concatenate(labels).astype(np.int64),
        np.concatenate(
            [
                np.ones(len(rows)) if s.segment_scores is None else np.asarray(s.segment_scores, np.float64)
                for s, rows in zip(samples, segments, strict=True)
            ]
        ),
    )
