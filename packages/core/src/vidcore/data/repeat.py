"""A data set several times in an epoch."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from vidcore.errors import DataError
from vidcore.interfaces import Dataset
from vidcore.sample import Sample

__all__ = ["RepeatDataset"]


class RepeatDataset:
    """Every entry ``times`` times, each time augmented anew: fewer, longer epochs for a small data set.

    Args:
        dataset: what to repeat.
        times: how often; at least 1.
    """

    def __init__(self, dataset: Dataset, times: int) -> None:
        if times < 1:
            raise DataError(f"RepeatDataset: times must be at least 1, got {times}")
        self.dataset = dataset
        self.times = times
        self.class_names: tuple[str, ...] | None = dataset.class_names
        self.num_classes: int | None = dataset.num_classes

    def __len__(self) -> int:
        return len(self.dataset) * self.times

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index``, which counts through all rounds."""
        index = range(len(self))[index]
        return self.dataset[index % len(self.dataset)].replace(index=index)

    @property
    def labels(self) -> Any:
        """Class numbers of all entries, where the data set knows its own."""
        own = getattr(self.dataset, "labels", None)
        return np.tile(own, self.times) if isinstance(own, np.ndarray) else None

    @property
    def max_label(self) -> int | None:
        """The highest class number, where the data set knows it."""
        found: int | None = getattr(self.dataset, "max_label", None)
        return found

    def fingerprint(self) -> str:
        """Return a hash of the data set's fingerprint (of its length, where it has none) and ``times``."""
        own = getattr(self.dataset, "fingerprint", None)
        return hashlib.sha256(f"{len(self)} {self.times} {own() if own else ''}".encode()).hexdigest()[:16]
