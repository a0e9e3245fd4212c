"""Datasets made of others: several joined, or one repeated in an epoch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import numpy as np

from vidcore.data.index import Ragged, fingerprint
from vidcore.errors import DataError
from vidcore.protocols import Dataset
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["ConcatDataset", "RepeatDataset"]


class ConcatDataset(Dataset):
    """The samples of several datasets, one after the other. All must have the same classes.

    ``PerDataset`` in the pipeline has steps for each of them.

    Args:
        datasets: at least one.

    Raises:
        DataError: nothing to join, or the datasets disagree about the classes.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        if not datasets:
            raise DataError("ConcatDataset: datasets must name at least one dataset")
        self.datasets = tuple(datasets)
        self._ends = list(accumulate(len(d) for d in datasets))
        names = {d.class_names for d in datasets if d.class_names is not None}
        counts = {d.num_classes for d in datasets if d.num_classes is not None}
        if len(names) > 1 or len(counts) > 1:
            raise DataError(
                f"ConcatDataset: the datasets must have the same classes, found {sorted(counts)} classes"
                + (" with different names" if len(names) > 1 else "")
            )
        self.class_names = next(iter(names), None)
        self.num_classes = next(iter(counts), None)

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``index``, counted over all datasets."""
        index = range(len(self))[index]
        part = bisect_right(self._ends, index)
        start = self._ends[part - 1] if part else 0
        return self.datasets[part][index - start].replace(index=index, part=part)

    @cached_property
    def labels(self) -> Array | Ragged[Any] | None:
        """Class numbers of all samples, as the datasets have them; None if one has none, or they differ in kind."""
        arrays = [d.labels for d in self.datasets if isinstance(d.labels, np.ndarray)]
        tables = [d.labels for d in self.datasets if isinstance(d.labels, Ragged)]
        if len(tables) == len(self.datasets):
            return Ragged.joined(tables)
        return np.concatenate(arrays) if len(arrays) == len(self.datasets) else None

    def sample_paths(self) -> Iterator[str]:
        """Return the paths of all samples; a dataset that is listed several times counts once."""
        return chain.from_iterable(d.sample_paths() for d in self._distinct)

    def fingerprint(self) -> str:
        """Return a hash of the fingerprints of all datasets."""
        return fingerprint("".join(f"{len(d)} {d.fingerprint()}\n" for d in self.datasets))

    def notes(self) -> list[str]:
        """Return the notes of all datasets, without duplicates."""
        return list(dict.fromkeys(note for d in self._distinct for note in d.notes()))

    @property
    def _distinct(self) -> list[Dataset]:
        return list({id(d): d for d in self.datasets}.values())


class RepeatDataset(ConcatDataset):
    """Every sample ``times`` times, augmented separately: fewer, longer epochs for a small dataset.

    Args:
        dataset: to repeat.
        times: how often; at least 1.

    Raises:
        DataError: ``times`` is less than 1.
    """

    def __init__(self, dataset: Dataset, times: int) -> None:
        if times < 1:
            raise DataError(f"RepeatDataset: times must be at least 1, got {times}")
        super().__init__([dataset] * times)

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``index``, counted over all repeats."""
        index = range(len(self))[index]
        return self.datasets[0][index % len(self.datasets[0])].replace(index=index)

    def fingerprint(self) -> str:
        """Return a hash of the dataset's fingerprint and the number of repeats."""
        return fingerprint(f"{len(self)} {len(self.datasets)} {self.datasets[0].fingerprint()}")
