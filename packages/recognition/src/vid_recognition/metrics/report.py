"""Precision, recall and F1 of each class."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vid_recognition.metrics.collect import LabelPairs
from vid_recognition.metrics.functional import confusion_matrix
from vidcore.files import write_csv
from vidcore.typing import Array

__all__ = ["ClassReport"]


class ClassReport(LabelPairs):
    """Precision, recall, F1 and support (true samples) of each class; see ``table``.

    ``compute`` returns their unweighted means, ``class/precision``, ``class/recall`` and ``class/f1``,
    over the classes that occur in labels or predictions; so ``class/recall`` equals ``acc/mean1``.

    Args:
        num_classes: number of classes; default: that of the scores, or of the class names.
    """

    def _per_class(self) -> tuple[Array, list[str]]:
        """Return (C, 5) float64 precision, recall, F1, support, predicted samples (0 / 0 is 0), and class names."""
        predicted, label, classes = self.pairs()
        matrix = confusion_matrix(predicted, label, num_classes=classes)
        support, chosen, hits = matrix.sum(1), matrix.sum(0), np.diagonal(matrix)
        recall, precision = hits / np.maximum(support, 1), hits / np.maximum(chosen, 1)
        f1 = 2 * hits / np.maximum(support + chosen, 1)
        return np.stack([precision, recall, f1, support, chosen], axis=1), self.names(classes)

    def compute(self) -> dict[str, float]:
        """Return the means over classes."""
        values, _ = self._per_class()
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
