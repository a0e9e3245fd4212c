"""A data set several times in an epoch."""

from __future__ import annotations

import hashlib

from vidcore.data.concat import ConcatDataset
from vidcore.errors import DataError
from vidcore.interfaces import Dataset

__all__ = ["RepeatDataset"]


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
