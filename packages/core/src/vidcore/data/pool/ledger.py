"""What every worker is at, and how long each step has taken, in memory that the main process reads without asking."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import frozen

__all__ = ["InFlight", "Ledger", "Row"]

STARTED, EPOCH, INDEX, PHASE, SAMPLES, SECONDS = range(6)
"""Columns of a row; the seconds of all phases follow the last."""


@frozen
class InFlight:
    """The sample a worker is at."""

    started: float
    """When it began, ``time.monotonic``; tells one attempt from the next."""
    epoch: int
    index: int
    phase: int
    """Number of what it does with it."""


class Ledger:
    """One row for each worker: its sample, the samples it finished, its seconds in every phase of loading."""

    def __init__(self, rows: int, phases: Sequence[str]) -> None:
        """
        Args:
            rows: number of workers.
            phases: names of what a worker does with a sample, in order.
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
        """Return what a worker is at; None between samples."""
        started, epoch, index, phase = self._table()[number, :SAMPLES]
        return InFlight(float(started), int(epoch), int(index), int(phase)) if started else None

    def forget(self, number: int) -> None:
        """A worker ended; nobody is at its sample."""
        self._table()[number, STARTED] = 0

    def milliseconds(self) -> dict[str, float]:
        """Return the mean time of every phase per sample; nothing before the first sample."""
        sums = self._table()[:, SAMPLES:].sum(0)
        if not sums[0]:
            return {}
        return dict(zip(self.phases, (1000 * sums[1:] / sums[0]).tolist(), strict=True))


class Row:
    """What one worker writes down."""

    def __init__(self, numbers: np.ndarray[Any, np.dtype[np.float64]]) -> None:
        self._numbers = numbers
        self._phase = 0
        self._last = time.perf_counter()

    @property
    def phase(self) -> int:
        """What the worker is at."""
        return self._phase

    def begin_sample(self, epoch: int, index: int, phase: int = 0) -> None:
        """A sample begins (or a batch, by its first sample), with this phase."""
        self._numbers[EPOCH:PHASE] = epoch, index
        self._numbers[STARTED] = time.monotonic()
        self.start_phase(phase)

    def start_phase(self, phase: int) -> None:
        """A phase begins; the time before it is not booked."""
        self._phase = self._numbers[PHASE] = phase
        self._last = time.perf_counter()

    def enter_phase(self, phase: int) -> None:
        """A phase begins where another ends."""
        self._charge()
        self.start_phase(phase)

    def finish(self, samples: int = 0) -> None:
        """The last phase ends, so many samples are finished."""
        self._charge()
        self._numbers[STARTED] = 0
        self._numbers[SAMPLES] += samples

    def _charge(self) -> None:
        self._numbers[SECONDS + self._phase] += time.perf_counter() - self._last
