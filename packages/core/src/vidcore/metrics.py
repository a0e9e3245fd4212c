"""Base classes of metrics, and a metric that saves predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np

from vidcore.errors import DataError
from vidcore.predictions import PredictionFile
from vidcore.protocols import Metric
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["Columns", "DumpPredictions", "SamplePairs"]


class _Collector(Metric):
    """The common part of ``Columns`` and ``SamplePairs``."""

    def __init__(self) -> None:
        self.class_names: tuple[str, ...] | None = None
        """Names by class number, from the first sample that has them."""
        self._notes: list[str] = []
        """Filled by ``compute`` of subclasses."""

    def notes(self) -> Sequence[str]:
        return self._notes


class Columns(_Collector):
    """Base class of metrics that need some numbers of every sample: columns of arrays, one entry per sample.

    The result does not depend on the order of batches or their distribution over processes: samples are sorted by
    index, and an index that occurs twice counts once. Samples with index -1 all count.
    """

    def __init__(self) -> None:
        super().__init__()
        self._batches: list[dict[str, Array]] = []

    def reset(self) -> None:
        """Forget all samples."""
        self.class_names, self._notes, self._batches = None, [], []

    def merge(self, others: Iterable[Self]) -> None:
        """Add what other processes collected."""
        for other in others:
            self._batches += other._batches
            self.class_names = self.class_names or other.class_names

    def add(self, targets: Sequence[Sample], **columns: Array) -> None:
        """Store the columns of a batch, each (batch, ...), with the indices of its samples."""
        if targets:
            self._batches.append({"index": np.array([t.index for t in targets], np.int64), **columns})
            self.class_names = self.class_names or targets[0].class_names

    def columns(self) -> dict[str, Array]:
        """Return all columns, sorted by index, without duplicates.

        Raises ``DataError`` if there are no samples, or batches have different columns.
        """
        if not self._batches:
            raise DataError(f"{type(self).__name__} has seen no samples")
        names = self._batches[0].keys()
        if any(batch.keys() != names for batch in self._batches):
            raise DataError(f"{type(self).__name__}: all samples must have the same kind of labels and score streams")
        joined = _joined(self._batches)
        self._batches = [joined]
        order = np.argsort(joined["index"], kind="stable")
        index = joined["index"][order]
        order = order[(index < 0) | (np.diff(index, prepend=-2) != 0)]
        self._batches = [{name: values[order] for name, values in joined.items()}]  # makes the next call cheap
        return self._batches[0]

    def __getstate__(self) -> dict[str, Any]:
        if len(self._batches) > 1 and len({tuple(batch) for batch in self._batches}) == 1:
            self._batches = [_joined(self._batches)]  # a few large arrays are sent faster than many small ones
        return self.__dict__


def _joined(batches: Sequence[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


class SamplePairs(_Collector):
    """Base class of metrics that need the predicted and the annotated Sample of every item.

    Order, duplicates and samples with index -1 are handled as in ``Columns``. ``check`` validates a pair, ``slim``
    drops fields that are not needed.
    """

    def __init__(self) -> None:
        super().__init__()
        self._rows: dict[int, tuple[Sample, Sample]] = {}
        self._anonymous: list[tuple[Sample, Sample]] = []

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Store the samples of a batch."""
        for predicted, target in zip(predictions, targets, strict=True):
            self.check(predicted, target)
            if target.index in self._rows:
                continue
            self.class_names = self.class_names or target.class_names or predicted.class_names
            pair = _alone(self.slim(predicted)), _alone(self.slim(target))
            if target.index < 0:
                self._anonymous.append(pair)
            else:
                self._rows[target.index] = pair

    def check(self, predicted: Sample, target: Sample) -> None:
        """Raise ``DataError`` if a pair lacks a field that the metric needs; default: accept all."""

    def slim(self, sample: Sample) -> Sample:
        """Return a sample without fields that the metric does not need; default: without media, inputs and targets."""
        return sample.replace(frames=None, video=None, audio=None, inputs={}, targets={})

    def reset(self) -> None:
        """Forget all samples."""
        self.class_names, self._notes, self._rows, self._anonymous = None, [], {}, []

    def merge(self, others: Iterable[Self]) -> None:
        """Add what other processes collected."""
        for other in others:
            self._rows = other._rows | self._rows
            self._anonymous += other._anonymous
            self.class_names = self.class_names or other.class_names

    def pairs(self) -> list[tuple[Sample, Sample]]:
        """Return the predicted and the annotated sample of every item, sorted by index.

        Raises ``DataError`` if there are none.
        """
        found = [self._rows[index] for index in sorted(self._rows)] + self._anonymous
        if not found:
            raise DataError(f"{type(self).__name__} has seen no samples")
        return found


def _alone(value: Any) -> Any:
    """Copy arrays that are views of others: a row must not keep a whole batch in memory."""
    if isinstance(value, np.ndarray):
        return value if value.base is None else value.copy()
    if isinstance(value, Mapping):
        entries = {key: _alone(entry) for key, entry in value.items()}
        return value if all(entries[key] is value[key] for key in entries) else entries
    if attrs.has(type(value)):
        fields = {a.name: getattr(value, a.name) for a in attrs.fields(type(value)) if a.init}
        changed = {name: new for name, old in fields.items() if (new := _alone(old)) is not old}
        return attrs.evolve(value, **changed) if changed else value
    return value


class DumpPredictions(SamplePairs):
    """Writes all predictions of an evaluation to ``predictions.npz``; computes no score."""

    def __init__(self, file: str = "predictions.npz") -> None:
        """
        Args:
            file: name in the run folder, or a path.
        """
        super().__init__()
        self.file = file

    def slim(self, sample: Sample) -> Sample:
        """Return a sample without the fields that the file does not store."""
        return super().slim(sample).replace(geometry=None, heatmaps=None, joints=None, clip=None)

    def compute(self) -> dict[str, float]:
        """Return no scores."""
        return {}

    def write(self, folder: Path) -> list[Path]:
        """Write the file and return its path."""
        path = folder / self.file
        predicted, true = zip(*self.pairs(), strict=True)
        PredictionFile(predicted, true).save(path)
        return [path]
