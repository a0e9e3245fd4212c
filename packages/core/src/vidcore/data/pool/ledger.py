"""What each worker is doing, and how long each step takes, in memory shared with the main process."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen

__all__ = ["InFlight", "Ledger", "Row"]

STARTED, EPOCH, INDEX, PHASE, SAMPLES, SECONDS = range(6)
"""Columns of a row; the seconds of each phase follow the last column."""


@frozen
class InFlight:
    """The sample that a worker is loading."""

    started: float
    """When it began (``time.monotonic``), which identifies the attempt."""
    epoch: int
    index: int
    phase: int
    """Number of the current phase."""


class Ledger:
    """One row for each worker: its sample, number of finished samples, and seconds in each phase of loading."""

    def __init__(self, rows: int, phases: Sequence[str]) -> None:
        """
        Args:
            rows: number of workers.
            phases: names of the phases of loading a sample, in order.
        """
        self.phases = tuple(phases)
        self._memory = multiprocessing.RawArray("d", rows * (SECONDS + len(phases)))
        self._shape = (rows, SECONDS + len(phases))

    def _table(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.frombuffer(self._memory, np.float64).reshape(self._shape)

    def row(self, number: int) -> Row:
        """Return the row that worker ``number`` writes."""
        return Row(self._table()[number])

    def in_flight(self, number: int) -> InFlight | None:
        """Return the sample that a worker is loading; None between samples."""
        started, epoch, index, phase = self._table()[number, :SAMPLES]
        return InFlight(float(started), int(epoch), int(index), int(phase)) if started else None

    def forget(self, number: int) -> None:
        """Clear the sample of a worker that ended."""
        self._table()[number, STARTED] = 0

    def milliseconds(self) -> dict[str, float]:
        """Return the mean time per sample of each phase; empty before the first sample."""
        sums = self._table()[:, SAMPLES:].sum(0)
        if not sums[0]:
            return {}
        return dict(zip(self.phases, (1000 * sums[1:] / sums[0]).tolist(), strict=True))


class Row:
    """The row of the ledger that one worker writes."""

    def __init__(self, numbers: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        self._numbers = numbers
        self._phase = 0
        self._last = time.perf_counter()

    @property
    def phase(self) -> int:
        """Number of the current phase."""
        return self._phase

    def begin_sample(self, epoch: int, index: int, phase: int = 0) -> None:
        """Begin a sample (or a batch, named by its first sample) with this phase."""
        self._numbers[EPOCH:PHASE] = epoch, index
        self._numbers[STARTED] = time.monotonic()
        self.start_phase(phase)

    def start_phase(self, phase: int) -> None:
        """Begin a phase; the time before it is not charged to any phase."""
        self._phase = self._numbers[PHASE] = phase
        self._last = time.perf_counter()

    def enter_phase(self, phase: int) -> None:
        """End the current phase and begin another."""
        self._charge()
        self.start_phase(phase)

    def finish(self, samples: int = 0) -> None:
        """End the last phase; ``samples``: how many are finished."""
        self._charge()
        self._numbers[STARTED] = 0
        self._numbers[SAMPLES] += samples

    def _charge(self) -> None:
        self._numbers[SECONDS + self._phase] += time.perf_counter() - self._last
