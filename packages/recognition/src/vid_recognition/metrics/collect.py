"""Base class of metrics on pairs of a predicted and a true class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from vidcore.errors import DataError, UserError
from vidcore.metrics import Columns
from vidcore.predictions import require_finite
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["LabelPairs"]


class LabelPairs(Columns):
    """Base of metrics that compare one predicted class with one true class.

    Args:
        num_classes: number of classes; default: that of the scores, or of the class names.
    """

    def __init__(self, num_classes: int | None = None) -> None:
        super().__init__()
        self.num_classes = num_classes

    def check_labels(self, labels: Literal["single", "multi"]) -> str:
        if labels == "multi":
            raise UserError(f"{type(self).__name__} compares single classes")
        return ""

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Add predictions with ``scores`` or ``label``, and targets with ``label``."""
        require_finite(predictions, targets, type(self).__name__)
        widths = [len(p.scores) for p in predictions if p.scores is not None]
        found = [p.label if p.scores is None else int(np.argmax(p.scores)) for p in predictions]
        true = [t.label for t in targets]
        if None in found or None in true:
            raise DataError(f"{type(self).__name__} needs one label per target, and scores or one label per prediction")
        width = max(widths, default=0)
        self.add(
            targets,
            predicted=np.array(found, np.int64),
            label=np.array(true, np.int64),
            width=np.full(len(targets), width, np.int64),
        )

    def pairs(self) -> tuple[Array, Array, int]:
        """Return predicted classes (N,) int64, true classes (N,) int64, and the number of classes."""
        columns = self.columns()
        classes = self.num_classes or int(columns["width"].max()) or len(self.class_names or ())
        if not classes:
            raise DataError(f"{type(self).__name__} needs num_classes if predictions have labels only")
        predicted, label = columns["predicted"], columns["label"]
        lowest, highest = min(predicted.min(), label.min()), max(predicted.max(), label.max())
        if lowest < 0 or highest >= classes:
            raise DataError(f"{type(self).__name__}: found classes {lowest} to {highest}; allowed: 0 to {classes - 1}")
        return predicted, label, classes

    def names(self, classes: int) -> list[str]:
        """Return the name of each class; default: its number."""
        names = self.class_names or ()
        return [names[i] if i < len(names) else str(i) for i in range(classes)]
