"""Keeping predicted and true segments of every video, over batches and processes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np
from attrs import frozen

from vid_localization.names import video_name
from vidcore.errors import DataError
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


class CollectedSegments:
    """Base of metrics that need the segments of all videos at once.

    The result does not depend on the order of batches, nor on how they are spread over processes: samples
    are put in the order of their index, and an index seen twice counts once. Samples of index -1 all count.
    """

    def __init__(self) -> None:
        self.notices: list[str] = []
        """What a reader of the scores should know; filled by ``compute``."""
        self.class_names: tuple[str, ...] | None = None
        self._rows: dict[int, tuple[Sample, Sample]] = {}
        self._anonymous: list[tuple[Sample, Sample]] = []

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Take predictions with ``segments`` and ``segment_scores``, and targets with ``segments``."""
        for predicted, target in zip(predictions, targets, strict=True):
            for sample, which in ((target, "true"), (predicted, "predicted")):
                if sample.segments is None:
                    raise DataError(f"{type(self).__name__} needs {which} segments; {video_name(target)} has none")
            self._keep(predicted, target)

    def _keep(self, predicted: Sample, target: Sample) -> None:
        self.class_names = self.class_names or target.class_names or predicted.class_names
        pair = _light(predicted), _light(target)
        if target.index < 0:
            self._anonymous.append(pair)
        else:
            self._rows.setdefault(target.index, pair)

    def reset(self) -> None:
        """Forget all samples."""
        self.notices, self.class_names, self._rows, self._anonymous = [], None, {}, []

    def merge(self, others: Iterable[Self]) -> None:
        """Take over what other processes collected."""
        for other in others:
            self._rows = other._rows | self._rows
            self._anonymous += other._anonymous
            self.class_names = self.class_names or other.class_names

    def pairs(self) -> list[tuple[Sample, Sample]]:
        """Predicted and true sample of every video, by index. Raises ``DataError`` where there is none."""
        found = [self._rows[index] for index in sorted(self._rows)] + self._anonymous
        if not found:
            raise DataError(f"{type(self).__name__} has seen no samples")
        return found

    def flat(self) -> tuple[Flat, Flat, int]:
        """Predicted and true segments of all videos, and the number of videos."""
        pairs = self.pairs()
        predicted, true = ([pair[side] for pair in pairs] for side in (0, 1))
        return _flat(predicted), _flat(true), len(pairs)


def _light(sample: Sample) -> Sample:
    """What metrics and result files need of a sample."""
    names = ("index", "path", "segments", "segment_labels", "segment_scores", "duration")
    meta = {k: v for k, v in sample.meta.items() if k in ("video_name", "ambiguous_segments", "boundary_rows")}
    return Sample(**{name: getattr(sample, name) for name in names}, meta=meta)


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
