"""The confusion matrix, as numbers and as an image."""

from __future__ import annotations

from pathlib import Path

from vid_recognition.metrics.collect import LabelPairs
from vid_recognition.metrics.functional import Normalize, confusion_matrix
from vidcore.files import write_csv
from vidcore.typing import Array

__all__ = ["ConfusionMatrix"]


class ConfusionMatrix(LabelPairs):
    """Counts by true class (rows) and predicted class (columns).

    ``compute`` returns no score; ``matrix`` returns the counts and ``write`` draws them.

    Args:
        num_classes: number of classes; default: that of the scores, or of the class names.
        font: font file for class names; default: installed fonts that have their characters.
    """

    def __init__(self, num_classes: int | None = None, font: Path | None = None) -> None:
        super().__init__(num_classes)
        self.font = font

    def compute(self) -> dict[str, float]:
        """Return an empty dictionary: a matrix is not a score."""
        return {}

    def matrix(self, normalize: Normalize = None) -> Array:
        """Return (C, C) int64 counts, or float64 fractions; see ``functional.confusion_matrix``."""
        predicted, label, classes = self.pairs()
        return confusion_matrix(predicted, label, normalize, classes)

    def write(self, folder: Path) -> list[Path]:
        """Write ``confusion_matrix.png`` and ``confusion_matrix.csv`` and return their paths."""
        from vid_recognition.metrics.picture import draw_confusion_matrix
        from vidcore.tools.draw import save_figure

        matrix = self.matrix()
        names = self.names(len(matrix))
        picture, table = folder / "confusion_matrix.png", folder / "confusion_matrix.csv"
        save_figure(draw_confusion_matrix(matrix, names, self.font), picture)
        rows = ([name, *row] for name, row in zip(names, matrix.tolist(), strict=True))
        write_csv(table, [["true / predicted", *names], *rows])
        return [picture, table]
