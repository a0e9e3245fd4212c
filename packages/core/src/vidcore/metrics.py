"""What metrics of several packages are made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

from vidcore.predictions import PredictionFile
from vidcore.sample import Sample

__all__ = ["DumpPredictions"]


class DumpPredictions:
    """Keeps all predictions of an evaluation and writes them to ``predictions.npz``; gives no score."""

    def __init__(self, file: str = "predictions.npz") -> None:
        """
        Args:
            file: name in the run folder, or a path.
        """
        self.file = file
        self._kept: dict[int, tuple[Sample, Sample]] = {}

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Take a batch."""
        for pair in zip(predictions, targets, strict=True):
            self._kept.setdefault(pair[1].index, pair)

    def compute(self) -> dict[str, float]:
        """Return nothing: predictions are no score."""
        return {}

    def reset(self) -> None:
        """Forget all predictions."""
        self._kept = {}

    def merge(self, others: Iterable[Self]) -> None:
        """Take over what other processes kept."""
        for other in others:
            self._kept = other._kept | self._kept

    def write(self, folder: Path) -> list[Path]:
        """Write the file and return its path."""
        path = folder / self.file
        pairs = [self._kept[index] for index in sorted(self._kept)]
        PredictionFile(tuple(p for p, _ in pairs), tuple(t for _, t in pairs)).save(path)
        return [path]
