"""Base classes of metrics, and metrics that keep predictions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import attrs
import numpy as np

from vidcore.errors import DataError
from vidcore.files import write_csv
from vidcore.predictions import PredictionFile, require_finite
from vidcore.protocols import Metric
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["Columns", "DumpPredictions", "Mistakes", "SamplePairs"]


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
        """Store the samples of a batch. Raises ``DataError`` if a prediction contains NaN or Inf."""
        require_finite(predictions, targets, type(self).__name__)
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


PLAIN = (str, int, float, tuple)
"""Types of nearly all fields, which have no arrays."""


def _alone(value: Any) -> Any:
    """Copy arrays that are views of others: a row must not keep a whole batch in memory."""
    if isinstance(value, np.ndarray):
        return value if value.base is None else value.copy()
    if isinstance(value, Mapping):
        entries = {key: _alone(entry) for key, entry in value.items()}
        return value if all(entries[key] is value[key] for key in entries) else entries
    if attrs.has(type(value)):
        changed = {}
        for a in attrs.fields(type(value)):
            old = getattr(value, a.name)
            if a.init and old is not None and not isinstance(old, PLAIN) and (new := _alone(old)) is not old:
                changed[a.name] = new
        if not changed:
            return value
        return value.replace(**changed) if isinstance(value, Sample) else attrs.evolve(value, **changed)
    return value


class Mistakes(Metric):
    """Lists all samples of an evaluation with truth and prediction, the worst first, in ``predictions.csv``.

    Every evaluation whose results are kept has this metric, which computes no score. Samples with class scores have the
    columns ``path``, ``true``, ``predicted``, ``score`` (of the predicted class) and ``rank`` (of the true class; 1 is
    right). With several labels, ``true`` and ``predicted`` list as many classes, ``score`` is the average precision of
    the sample, and ``rank`` is that of the last true class. Others have what their records return from ``compared``.
    Parts of videos also have ``start`` and ``end``.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all samples."""
        self._rows: dict[int, tuple[float, dict[str, Any]]] = {}

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Store a row for each sample. Raises ``DataError`` if a prediction contains NaN or Inf."""
        require_finite(predictions, targets, type(self).__name__)
        for predicted, target in zip(predictions, targets, strict=True):
            compared = _compared(predicted, target)
            if compared is not None:
                wrong, row = compared
                index = target.index if target.index >= 0 else -1 - len(self._rows)
                place: dict[str, Any] = {"path": target.path or target.key}
                if target.cut is not None:
                    place |= {"start": target.cut.start, "end": target.cut.end}
                self._rows.setdefault(index, (wrong, place | row))

    def merge(self, others: Iterable[Self]) -> None:
        """Add what other processes collected."""
        for other in others:
            self._rows = other._rows | self._rows

    def compute(self) -> dict[str, float]:
        """Return no scores."""
        return {}

    def write(self, folder: Path) -> list[Path]:
        """Write the table and return its path, unless no sample could be compared."""
        rows = [row for _, (_, row) in sorted(self._rows.items(), key=lambda item: (-item[1][0], item[0]))]
        if not rows:
            return []
        path = folder / "predictions.csv"
        header = max((list(row) for row in rows), key=len)
        write_csv(path, [header, *([row.get(name) for name in header] for row in rows)])
        return [path]


def _compared(predicted: Sample, target: Sample) -> tuple[float, dict[str, Any]] | None:
    """Return how wrong a prediction is, and a row about it; None if there is nothing to compare."""
    if predicted.scores is not None and (target.labels is not None or target.label is not None):
        names = predicted.class_names or target.class_names
        if target.labels is None:
            return _compared_class(predicted.scores, int(target.label or 0), names)
        return _compared_classes(predicted.scores, np.flatnonzero(np.asarray(target.labels) > 0.5), names)
    true = dict(target.records())
    for name, record in predicted.records():
        if isinstance(true.get(name), type(record)) and (found := record.compared(true[name])) is not None:
            return found
    return None


def _compared_class(scores: Array, label: int, names: Sequence[str] | None) -> tuple[float, dict[str, Any]]:
    order = np.argsort(-scores, kind="stable")
    place = np.flatnonzero(order == label)
    rank = int(place[0]) + 1 if len(place) else len(scores) + 1
    best = int(order[0])
    score = float(scores[best])
    row = {"true": _name(label, names), "predicted": _name(best, names), "score": round(score, 6), "rank": rank}
    wrong = rank + 0.5 * min(max(score, 0.0), 1.0) if rank > 1 else 1 - 0.5 * min(max(score, 0.0), 1.0)
    return wrong, row


def _compared_classes(scores: Array, labels: Array, names: Sequence[str] | None) -> tuple[float, dict[str, Any]]:
    order = np.argsort(-scores, kind="stable")
    hits = np.isin(order, labels)
    places = np.flatnonzero(hits) + 1
    precision = float(np.mean(np.arange(1, len(places) + 1) / places)) if len(places) else 0.0
    row = {
        "true": "; ".join(_name(k, names) for k in labels.tolist()),
        "predicted": "; ".join(_name(k, names) for k in order[: max(len(labels), 1)].tolist()),
        "score": round(precision, 6),
        "rank": int(places[-1]) if len(places) else None,
    }
    return 1 - precision, row


def _name(number: int, names: Sequence[str] | None) -> str:
    return names[number] if names and number < len(names) else str(number)


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
