"""Precision, recall and F1 of each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vid_recognition.metrics.collect import LabelPairs
from vid_recognition.metrics.functional import confusion_matrix
from vid_recognition.metrics.thresholds import ThresholdMetric
from vidcore.errors import DataError
from vidcore.files import write_csv
from vidcore.predictions import require_finite
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["ClassReport"]


class ClassReport(ThresholdMetric, LabelPairs):
    """Precision, recall, F1 and support (true samples) of each class; see ``table``.

    ``compute`` returns their unweighted means, ``class/precision``, ``class/recall`` and ``class/f1``,
    over the classes that occur in labels or predictions; so ``class/recall`` equals ``acc/mean1``.

    With ``multi_class``, labels are predicted at the thresholds kept with the evaluated weights, or else at 0.5.

    Args:
        num_classes: number of classes; default: that of the scores, or of the class names.
        multi_class: samples have any number of classes.
    """

    def __init__(self, num_classes: int | None = None, multi_class: bool = False) -> None:
        super().__init__()
        self.num_classes, self.multi_class = num_classes, multi_class

    def check_labels(self, labels: Literal["single", "multi"]) -> str:
        return ""

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Add predictions with ``scores``, and targets with ``label``, or with ``labels`` if ``multi_class``."""
        if not self.multi_class:
            super().update(predictions, targets)
            return
        require_finite(predictions, targets, type(self).__name__)
        scores = [p.scores for p in predictions if p.scores is not None]
        labels = [np.asarray(t.labels) for t in targets if t.labels is not None]
        if not len(scores) == len(labels) == len(targets):
            raise DataError("ClassReport: multi_class = true needs scores of each class and multi-hot labels")
        if scores:
            self.add(targets, scores=np.stack(scores), labels=np.stack(labels))

    def _counts(self) -> tuple[Array, Array, Array]:
        """Return (C,) int64 true samples, predicted samples, and those that are both."""
        if self.multi_class:
            columns = self.columns()
            positive, predicted = columns["labels"] == 1, self.decide(columns["scores"])
            return positive.sum(0), predicted.sum(0), (positive & predicted).sum(0)
        predicted, label, classes = self.pairs()
        matrix = confusion_matrix(predicted, label, num_classes=classes)
        return matrix.sum(1), matrix.sum(0), np.diagonal(matrix)

    def _per_class(self) -> tuple[Array, list[str]]:
        """Return (C, 5) float64 precision, recall, F1, support, predicted samples (0 / 0 is 0), and class names."""
        support, chosen, hits = self._counts()
        recall, precision = hits / np.maximum(support, 1), hits / np.maximum(chosen, 1)
        f1 = 2 * hits / np.maximum(support + chosen, 1)
        return np.stack([precision, recall, f1, support, chosen], axis=1), self.names(len(support))

    def compute(self) -> dict[str, float]:
        """Return the means over classes."""
        values, _ = self._per_class()
        self._notes = [f"class/f1: {self.how()}"] if self.multi_class else []
        occurs = values[:, 3] + values[:, 4] > 0
        means = values[occurs].mean(0)
        return {f"class/{name}": float(means[i]) for i, name in enumerate(("precision", "recall", "f1"))}

    def table(self) -> list[dict[str, str | float | int]]:
        """Return a row per class: ``class``, ``precision``, ``recall``, ``f1``, ``support``."""
        values, names = self._per_class()
        return [
            {"class": name, "precision": p, "recall": r, "f1": f, "support": int(n)}
            for name, (p, r, f, n, _) in zip(names, values.tolist(), strict=True)
        ]

    def write(self, folder: Path) -> list[Path]:
        """Write the table to ``class_report.csv`` and return its path."""
        path = folder / "class_report.csv"
        rows = self.table()
        write_csv(path, [rows[0], *(row.values() for row in rows)])
        return [path]
