"""Assignment of samples to batches, as a function of seed and epoch, so that any batch of a run can be repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import frozen

from vidcore.data.index import Ragged

__all__ = ["Batches", "SampleKey"]

SampleKey = tuple[int, int, int]
"""(epoch, sample index, earlier occurrences of the sample in this epoch): a sample for a worker to load."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@frozen
class Batches:
    """The batches of one process, numbered over all epochs: batch n is number n % len of epoch n // len.

    Processes take turns in one common order, so together their batches equal those of one process with a
    batch that many times larger. In training, every process gets the same number of samples: if the order
    does not divide evenly, its first samples are repeated. In evaluation, each sample occurs exactly once,
    and processes may have different numbers of batches.
    """

    size: int
    """Samples in the dataset."""
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    drop_last: bool = False
    even: bool = False
    """Whether every process gets the same number of samples."""
    rank: int = 0
    world: int = 1
    labels: Numbers | Ragged[Any] | None = None
    """To balance classes: the class of every sample, without which (-1) it is left out; or its classes, if it may have
    several: those without any are a class of their own."""
    power: float = 0.0
    """With labels: classes occur in proportion to their size to this power."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        if self.even:
            share = self.size // self.world if self.drop_last else -(-self.size // self.world)
        else:
            share = len(range(self.rank, self.size, self.world))
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def order(self, epoch: int) -> Numbers:
        """Return (samples, 2): this process's samples in an epoch, and how often each occurred before."""
        order = np.zeros((self.size, 2), np.int64)
        rng = np.random.default_rng((self.seed, epoch))
        if self.labels is not None:
            order = _balanced(self.labels, self.size, self.power, rng)
        else:
            order[:, 0] = rng.permutation(self.size) if self.shuffle else np.arange(self.size)
        if self.even and self.size % self.world and not self.drop_last:
            order = np.resize(order, (-(-self.size // self.world) * self.world, 2))  # repeats from the start
        return order[self.rank :: self.world]

    def batches_between(self, first: int, last: int) -> Iterator[list[SampleKey]]:
        """Yield batches number ``first`` up to, but not including, ``last``."""
        number = first
        while number < last:
            epoch, start = divmod(number, len(self))
            order = self.order(epoch)
            for position in range(start, min(len(self), start + last - number)):
                indices = order[position * self.batch_size : (position + 1) * self.batch_size]
                yield [(epoch, index, copy) for index, copy in indices.tolist()]
                number += 1


def _balanced(labels: Numbers | Ragged[Any], size: int, power: float, rng: np.random.Generator) -> Numbers:
    """Return an epoch with balanced classes, and samples as equally frequent as possible within each."""
    classes = _members(labels)
    weights = np.array([len(members) for members in classes]) ** power
    wanted = size * weights / weights.sum()
    shares = np.floor(wanted).astype(np.int64)
    order = rng.permutation(len(classes))  # of classes that miss equal parts of a sample
    shares[order[np.argsort((shares - wanted)[order], kind="stable")][: size - shares.sum()]] += 1
    parts = []
    for members, share in zip(classes, shares, strict=True):
        rounds = -(-share // len(members))
        parts.append(np.concatenate([rng.permutation(members) for _ in range(rounds)])[:share])
    indices = np.concatenate(parts)
    order = np.argsort(indices, kind="stable")  # a sample follows its earlier occurrences
    runs = np.bincount(indices)
    earlier = np.empty_like(indices)
    earlier[order] = np.arange(len(indices)) - np.repeat(np.cumsum(runs) - runs, runs)
    return rng.permutation(np.stack([indices, earlier], 1))


def _members(labels: Numbers | Ragged[Any]) -> list[Numbers]:
    """Return the samples of each class that occurs."""
    if not isinstance(labels, Ragged):
        return [np.flatnonzero(labels == number) for number in np.unique(labels[labels >= 0])]
    counts = np.diff(labels.offsets)
    owners = np.repeat(np.arange(len(labels)), counts)
    pairs = np.unique(np.stack([labels.values.astype(np.int64), owners]), axis=1)  # by class, then by sample
    classes: list[Numbers] = np.split(pairs[1], np.flatnonzero(np.diff(pairs[0])) + 1)
    return [*classes, none] if len(none := np.flatnonzero(counts == 0)) else classes
