"""Keeping what a metric needs of every sample, over batches and processes."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from vidcore.errors import DataError
from vidcore.files import write_text
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["Collected", "LabelPairs", "write_csv"]


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Write a table."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    write_text(path, text.getvalue())


class Collected:
    """Base of metrics that need all samples at once: columns of arrays, one entry per sample.

    The result does not depend on the order of batches, nor on how they are spread over processes:
    samples are put in the order of their index, and an index seen twice counts once (samplers pad
    the last batch of a process with samples of another). Samples of index -1 all count.
    """

    def __init__(self) -> None:
        self.notices: list[str] = []
        """What a reader of the scores should know; filled by ``compute``."""
        self.class_names: tuple[str, ...] | None = None
        self._batches: list[dict[str, Array]] = []

    def reset(self) -> None:
        """Forget all samples."""
        self.notices, self.class_names, self._batches = [], None, []

    def merge(self, others: Iterable[Self]) -> None:
        """Take over what other processes collected."""
        for other in others:
            self._batches += other._batches
            self.class_names = self.class_names or other.class_names

    def _add(self, targets: Sequence[Sample], **columns: Array) -> None:
        """Keep the columns of a batch, each (batch, ...), beside the index of the samples."""
        if targets:
            self._batches.append({"index": np.array([t.index for t in targets], np.int64), **columns})
            self.class_names = self.class_names or targets[0].class_names

    def __getstate__(self) -> dict[str, Any]:
        if len(self._batches) > 1 and len({tuple(batch) for batch in self._batches}) == 1:
            self._batches = [_joined(self._batches)]  # a few large arrays travel faster than many small ones
        return self.__dict__

    def _columns(self) -> dict[str, Array]:
        """Return all columns, sorted by index and without doubles."""
        if not self._batches:
            raise DataError(f"{type(self).__name__} has seen no samples")
        names = self._batches[0].keys()
        if any(batch.keys() != names for batch in self._batches):
            raise DataError(
                f"{type(self).__name__}: samples differ in what they hold (one label or several; score streams)"
            )
        joined = _joined(self._batches)
        self._batches = [joined]
        order = np.argsort(joined["index"], kind="stable")
        index = joined["index"][order]
        order = order[(index < 0) | (np.diff(index, prepend=-2) != 0)]
        self._batches = [{name: values[order] for name, values in joined.items()}]  # asking again is cheap
        return self._batches[0]


def _joined(batches: Sequence[dict[str, Array]]) -> dict[str, Array]:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


class LabelPairs(Collected):
    """Base of metrics that compare one predicted class with one true class.

    Args:
        num_classes: number of classes; if not given it follows from scores or class names.
    """

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Take predictions with ``scores``, or with ``label``, and targets with ``label``."""
        widths = [len(p.scores) for p in predictions if p.scores is not None]
        found = [p.label if p.scores is None else int(np.argmax(p.scores)) for p in predictions]
        truth = [t.label for t in targets]
        if None in found or None in truth:
            raise DataError(f"{type(self).__name__} needs one true label per sample, and scores or one label predicted")
        width = max(widths, default=0)
        self._add(
            targets,
            predicted=np.array(found, np.int64),
            label=np.array(truth, np.int64),
            width=np.full(len(targets), width, np.int64),
        )

    def pairs(self) -> tuple[Array, Array, int]:
        """Return predicted classes (N,), true classes (N,), and the number of classes."""
        columns = self._columns()
        classes = self.num_classes or int(columns["width"].max()) or len(self.class_names or ())
        if not classes:
            raise DataError(f"{type(self).__name__} needs num_classes where predictions are labels without scores")
        predicted, label = columns["predicted"], columns["label"]
        lowest, highest = min(predicted.min(), label.min()), max(predicted.max(), label.max())
        if lowest < 0 or highest >= classes:
            raise DataError(
                f"{type(self).__name__}: classes {lowest} to {highest} occur, allowed is 0 to {classes - 1}"
            )
        return predicted, label, classes

    def names(self, classes: int) -> list[str]:
        """Return a name for every class: its number where there is none."""
        given = self.class_names or ()
        return [given[i] if i < len(given) else str(i) for i in range(classes)]
