"""The classes of all samples of a dataset."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from attrs import field, frozen

from vidcore.data.index import Ragged
from vidcore.protocols import Dataset
from vidcore.typing import Array

__all__ = ["SampleClasses"]


@frozen(eq=False)
class SampleClasses:
    """The classes of each sample of a dataset, which may have none, one or several."""

    rows: Ragged[Any]
    """(samples): class numbers."""
    names: tuple[str, ...] | None
    totals: Array = field(init=False)
    """(classes,) int64: samples with each class."""

    @totals.default
    def _count_all(self) -> Array:
        known = max(int(self.rows.values.max(initial=-1)) + 1, len(self.names or ()))
        return np.bincount(self.rows.values, minlength=known)

    @classmethod
    def of(cls, dataset: Dataset) -> SampleClasses | None:
        """Return the classes of a dataset; None if it does not know them without reading its samples."""
        labels = dataset.labels
        if isinstance(labels, Ragged):
            return cls(labels, dataset.class_names)
        if not isinstance(labels, np.ndarray):
            return None
        known = labels >= 0
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(known)])
        return cls(Ragged(labels[known].astype(np.int64), offsets), dataset.class_names)

    def counts(self, samples: Iterable[int]) -> Array:
        """Return the number of these samples with each class: (classes,) int64."""
        return np.bincount(self.rows.take(list(samples)).values, minlength=len(self.totals))

    def name(self, number: int) -> str:
        """Return the quoted name of a class, or its number."""
        return repr(self.names[number]) if self.names and number < len(self.names) else str(number)
