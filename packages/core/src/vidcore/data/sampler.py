"""Which samples make which batch: a function of the epoch, so that any batch of a run can be found again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import frozen

__all__ = ["Batches", "SampleKey"]

SampleKey = tuple[int, int, int]
"""(epoch, sample index, how often it came before in this epoch): what a worker is asked for."""

Numbers = np.ndarray[Any, np.dtype[np.int64]]


@frozen
class Batches:
    """The batches of one process, numbered through all epochs: batch n is number n % len of epoch n // len.

    Processes take turns in the common order, so that their batches together are those of one process
    with a batch that many times larger. For training, every process gets equally many samples: the first
    of the order come again where it does not divide. For evaluation each sample comes exactly once, and
    processes may have different numbers of batches.
    """

    size: int
    """Samples in the data set."""
    batch_size: int
    seed: int = 0
    shuffle: bool = False
    drop_last: bool = False
    even: bool = False
    """Equally many samples for every process."""
    rank: int = 0
    world: int = 1
    labels: Numbers | None = None
    """Class of every sample: all classes then come equally often, as many samples in all; those without (-1) never."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        if self.even:
            share = self.size // self.world if self.drop_last else -(-self.size // self.world)
        else:
            share = len(range(self.rank, self.size, self.world))
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def order(self, epoch: int) -> Numbers:
        """Return (samples, 2): this process's samples in an epoch, and how often each came before."""
        order = np.zeros((self.size, 2), np.int64)
        rng = np.random.default_rng((self.seed, epoch))
        if self.labels is not None:
            order = _balanced(self.labels, self.size, rng)
        else:
            order[:, 0] = rng.permutation(self.size) if self.shuffle else np.arange(self.size)
        if self.even and self.size % self.world and not self.drop_last:
            order = np.resize(order, (-(-self.size // self.world) * self.world, 2))  # repeats from the start
        return order[self.rank :: self.world]

    def batches_between(self, first: int, last: int) -> Iterator[list[SampleKey]]:
        """Yield the batches from number ``first`` up to, not including, number ``last``."""
        number = first
        while number < last:
            epoch, start = divmod(number, len(self))
            order = self.order(epoch)
            for position in range(start, min(len(self), start + last - number)):
                indices = order[position * self.batch_size : (position + 1) * self.batch_size]
                yield [(epoch, index, copy) for index, copy in indices.tolist()]
                number += 1


def _balanced(labels: Numbers, size: int, rng: np.random.Generator) -> Numbers:
    """An epoch in which all classes are equally frequent, and within each its samples as equally as can be."""
    classes = [np.flatnonzero(labels == number) for number in np.unique(labels[labels >= 0])]
    shares = np.full(len(classes), size // len(classes))
    shares[rng.permutation(len(classes))[: size % len(classes)]] += 1
    parts = []
    for members, share in zip(classes, shares, strict=True):
        rounds = -(-share // len(members))
        indices = np.concatenate([rng.permutation(members) for _ in range(rounds)])
        parts.append(np.stack([indices, np.repeat(np.arange(rounds), len(members))], 1)[:share])
    return rng.permutation(np.concatenate(parts))
