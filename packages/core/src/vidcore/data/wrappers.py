"""Data sets made of others: several as one, one several times in an epoch."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from vidcore.errors import DataError
from vidcore.protocols import Dataset
from vidcore.sample import Sample

__all__ = ["ConcatDataset", "RepeatDataset"]


class ConcatDataset:
    """The entries of several data sets, one after the other, with the classes they have in common.

    Args:
        datasets: at least one; all with the same classes.

    Raises:
        DataError: nothing to join, or the data sets disagree about the classes.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        if not datasets:
            raise DataError("ConcatDataset: datasets must name at least one data set")
        self.datasets = tuple(datasets)
        self._ends = list(accumulate(len(d) for d in datasets))
        names = {d.class_names for d in datasets if d.class_names is not None}
        counts = {d.num_classes for d in datasets if d.num_classes is not None}
        if len(names) > 1 or len(counts) > 1:
            raise DataError(
                f"ConcatDataset: the data sets must have the same classes, found {sorted(counts)} classes"
                + (" with different names" if len(names) > 1 else "")
            )
        self.class_names: tuple[str, ...] | None = next(iter(names), None)
        self.num_classes: int | None = next(iter(counts), None)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index``, which counts through all data sets."""
        index = range(len(self))[index]
        part = bisect_right(self._ends, index)
        start = self._ends[part - 1] if part else 0
        return self.datasets[part][index - start].replace(index=index)

    @property
    def labels(self) -> Any:
        """Class numbers of all entries, where all data sets know theirs."""
        found = (getattr(d, "labels", None) for d in self.datasets)
        own = [labels for labels in found if isinstance(labels, np.ndarray)]
        return np.concatenate(own) if len(own) == len(self.datasets) else None

    def fingerprint(self) -> str:
        """Return a hash of the fingerprints of all data sets, or of their lengths where they have none."""
        digest = hashlib.sha256()
        for dataset in self.datasets:
            own = getattr(dataset, "fingerprint", None)
            digest.update(f"{len(dataset)} {own() if own else ''}\n".encode())
        return digest.hexdigest()[:16]


class RepeatDataset(ConcatDataset):
    """Every entry ``times`` times, each time augmented anew: fewer, longer epochs for a small data set.

    Args:
        dataset: what to repeat.
        times: how often; at least 1.

    Raises:
        DataError: ``times`` is less.
    """

    def __init__(self, dataset: Dataset, times: int) -> None:
        if times < 1:
            raise DataError(f"RepeatDataset: times must be at least 1, got {times}")
        super().__init__([dataset] * times)

    def fingerprint(self) -> str:
        """Return a hash of the data set's fingerprint (of its length, where it has none) and how often it comes."""
        own = getattr(self.datasets[0], "fingerprint", None)
        return hashlib.sha256(f"{len(self)} {len(self.datasets)} {own() if own else ''}".encode()).hexdigest()[:16]
