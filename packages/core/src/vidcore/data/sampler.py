"""Which samples make which batch: a function of the epoch, so that any batch of a run can be found again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from attrs import frozen

__all__ = ["Batches", "Key"]

Key = tuple[int, int]
"""(epoch, sample index): what a worker is asked for."""


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

    def __len__(self) -> int:
        """Batches of an epoch."""
        if self.even:
            share = self.size // self.world if self.drop_last else -(-self.size // self.world)
        else:
            share = len(range(self.rank, self.size, self.world))
        return share // self.batch_size if self.drop_last else -(-share // self.batch_size)

    def order(self, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the order of this process's samples in an epoch."""
        order = (
            np.random.default_rng((self.seed, epoch)).permutation(self.size) if self.shuffle else np.arange(self.size)
        )
        if self.even and self.size % self.world and not self.drop_last:
            order = np.resize(order, -(-self.size // self.world) * self.world)  # repeats from the start
        return order[self.rank :: self.world]

    def between(self, first: int, last: int) -> Iterator[list[Key]]:
        """Yield the batches from number ``first`` up to, not including, number ``last``."""
        number = first
        while number < last:
            epoch, start = divmod(number, len(self))
            order = self.order(epoch)
            for position in range(start, min(len(self), start + last - number)):
                indices = order[position * self.batch_size : (position + 1) * self.batch_size]
                yield [(epoch, int(i)) for i in indices]
                number += 1
