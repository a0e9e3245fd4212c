"""Advice when training is data-bound."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from vidcore.data.pool.loader import Loader
from vidcore.engine import dist
from vidcore.protocols import Observer, StepValues

__all__ = ["Loading", "LoadingAdvice"]

MUCH = 0.2
"""Share of the time spent waiting for data from which to give advice."""
LONG = 5.0
"""Seconds spent waiting for data from which to give advice."""
READERS = {"Decode", "DecodeMotionVectors", "OpenVideo"}


@frozen
class Loading:
    """Cost of loading: the time of each step, and the share of the time that the model waits."""

    milliseconds: dict[str, float]
    """Mean time of every step per sample, in one worker."""
    types: dict[str, str]
    """Types of the steps of the pipeline, by name."""
    waiting: float
    """Share of the time that the model waits for data."""
    workers: int
    cores: float
    """CPU cores per training process."""

    @classmethod
    def of(cls, loader: Loader, waiting: float) -> Loading:
        """Return the cost of loading so far."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        local = int(os.environ.get("LOCAL_WORLD_SIZE", dist.world().size))
        return cls(loader.ledger.milliseconds(), loader.step_types, waiting, loader.options.workers, cores / local)

    @property
    def slowest(self) -> str:
        """Name of the slowest step."""
        return max(self.milliseconds, key=self.milliseconds.__getitem__)

    def advice(self) -> str | None:
        """Return a sentence with the slowest step and what may help; None if the model does not wait."""
        if self.waiting < MUCH or not self.milliseconds:
            return None
        slowest = self.slowest
        named = f"{slowest} ({self.types[slowest]})" if slowest in self.types else slowest
        times = f"{self.milliseconds[slowest]:.3g} of {sum(self.milliseconds.values()):.3g} ms per sample"
        return (
            f"{self.waiting:.0%} of the time is spent waiting for data; the slowest step is {named}, {times}: "
            f"{self._help()}"
        )

    def _help(self) -> str:
        ways = []
        if self.workers < self.cores - 1:
            ways.append(f"raise data.train.workers, which is {self.workers} (of {self.cores:.3g} CPU cores)")
        if self.types.get(self.slowest) in READERS:
            if self.workers and self.cores >= 2 * self.workers:
                ways.append("give OpenVideo more threads")
            ways.append("re-encode the videos, smaller and with more key frames")
        elif not self.types.get(self.slowest, "Load").startswith("Load"):  # features and sound have no pixels
            ways.append("re-encode the videos smaller, so that there are fewer pixels to process")
        return ", or ".join(ways) or "the machine has no more cores for data.train.workers"


class LoadingAdvice(Observer):
    """Measures how long steps wait for data, and gives advice once."""

    def __init__(self, say: Callable[[str], None]) -> None:
        """
        Args:
            say: prints a line.
        """
        self._say = say
        self._loader: Loader | None = None

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._loader = info["loader"]
        self._seconds: dict[str, float] = {}
        self._last: int | None = None
        self._said = False

    def on_step(self, epoch: int, step: int, values: StepValues) -> None:
        if self._last is not None:  # the first steps wait for workers to start
            for phase, seconds in values.seconds.items():
                self._seconds[phase] = self._seconds.get(phase, 0.0) + seconds * (step - self._last)
        self._last = step

    def on_epoch(self, epoch: int, values: StepValues) -> None:
        if not self._said and self._seconds.get("data", 0.0) > LONG:
            self._said = True
            if line := self.loading.advice():
                self._say(line)

    @property
    def loading(self) -> Loading:
        """Cost of loading so far."""
        assert self._loader is not None
        total = sum(self._seconds.values())
        return Loading.of(self._loader, self._seconds.get("data", 0.0) / total if total else 0.0)

    def report(self) -> Mapping[str, Any]:
        loading = self.loading
        return {
            "loading": {
                "waiting_for_data": round(loading.waiting, 4),
                "milliseconds_per_sample": {name: round(ms, 3) for name, ms in loading.milliseconds.items()},
                "advice": loading.advice(),
            }
        }
