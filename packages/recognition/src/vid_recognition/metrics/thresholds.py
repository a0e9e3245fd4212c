"""Decisions about several labels per sample, at a threshold for each class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vidcore.data.thresholds import thresholds_beside_weights
from vidcore.errors import DataError
from vidcore.metrics import Columns
from vidcore.typing import Array

__all__ = ["ThresholdMetric"]

DEFAULT = 0.5


class ThresholdMetric(Columns):
    """Base of metrics that may decide about labels: at the thresholds beside the evaluated weights, or at 0.5."""

    def __init__(self) -> None:
        super().__init__()
        self.thresholds: tuple[float, ...] | None = None

    def use(self, kept: Mapping[str, Any]) -> None:
        """Take the thresholds beside the evaluated weights."""
        self.thresholds = thresholds_beside_weights(kept)

    def decide(self, scores: Array) -> Array:
        """Return (N, C) bool, the predicted labels for scores (N, C)."""
        classes = scores.shape[1]
        if self.thresholds is not None and len(self.thresholds) != classes:
            raise DataError(f"the weights have {len(self.thresholds)} thresholds, but scores of {classes} classes")
        decided: Array = scores >= np.array(self.thresholds or [DEFAULT] * classes)
        return decided

    def how(self) -> str:
        """Return which thresholds are used, for a note."""
        return f"at {DEFAULT}" if self.thresholds is None else "at the thresholds chosen on the validation data"
