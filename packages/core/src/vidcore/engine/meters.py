"""Means over training steps, and the time of each phase of a step."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from attrs import field, frozen

from vidcore.engine import dist
from vidcore.protocols import StepValues

__all__ = ["Clock", "Meter", "Reported"]


@frozen
class Reported:
    """Values that a model reports for a batch, or for all batches of a step: scalar tensors by name."""

    losses: dict[str, torch.Tensor] = field(factory=dict)
    """Entries with ``loss`` in the name, which are minimised."""
    others: dict[str, torch.Tensor] = field(factory=dict)
    """Entries that are only logged."""

    def add(self, values: Mapping[str, torch.Tensor], prefix: str = "") -> Reported:
        """Add the result of ``Model.loss``, with ``prefix`` before every name; return self."""
        for name, value in values.items():
            (self.losses if "loss" in name else self.others)[prefix + name] = value
        return self


class Meter:
    """Means of step values since the last flush and since the epoch began. Values stay on the GPU until a flush."""

    def __init__(self) -> None:
        self._steps: list[Reported] = []
        self.epoch_sums: dict[tuple[str, str], tuple[float, int]] = {}
        """Sum and number of steps, by (field of ``StepValues``, name)."""

    def add(self, reported: Reported) -> None:
        """Add the values of a step."""
        self._steps.append(reported)

    def flush(self, seconds: Mapping[str, float], lr: float, device: torch.device) -> StepValues:
        """Return the means over the steps since the last flush, and over all processes; and the memory of the GPU.

        Args:
            seconds: time of these steps, by phase.
            lr: highest learning rate of the last step.
            device: used for collectives.
        """
        count = len(self._steps)
        means = {("losses", name): mean for name, mean in _means([s.losses for s in self._steps]).items()}
        means |= {("others", name): mean for name, mean in _means([s.others for s in self._steps]).items()}
        means |= {("seconds", name): total / count for name, total in seconds.items()}
        means = dist.mean(means, device)
        for key, value in means.items():
            total, steps = self.epoch_sums.get(key, (0.0, 0))
            self.epoch_sums[key] = (total + value * count, steps + count)
        self._steps = []
        if device.type == "cuda":
            means["others", "gpu_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
        return _step_values(means, lr)

    def end_epoch(self) -> StepValues:
        """Return the means over the epoch, and start the next."""
        means = {key: total / steps for key, (total, steps) in self.epoch_sums.items()}
        self.epoch_sums = {}
        return _step_values(means, None)


def _means(steps: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, float]:
    names = dict.fromkeys(name for values in steps for name in values)
    columns = {name: [values[name] for values in steps if name in values] for name in names}
    return {name: float(torch.stack(column).sum(dtype=torch.float32)) / len(steps) for name, column in columns.items()}


def _step_values(means: Mapping[tuple[str, str], float], lr: float | None) -> StepValues:
    found: dict[str, dict[str, float]] = {"losses": {}, "others": {}, "seconds": {}}
    for (group, name), value in means.items():
        found[group][name] = value
    return StepValues(**found, lr=lr)


class Clock:
    """Measures the time of each phase of a step; every lap ends one phase and begins the next.

    CUDA runs asynchronously, so wall-clock time on the host is meaningless: a late batch costs nothing while the GPU is
    busy with the one before. There, phases are timed with CUDA events, which are read in ``take``.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        """
        Args:
            device: where the work is done; default: the CPU.
        """
        self._gpu = device if device is not None and device.type == "cuda" else None
        self._marks: list[tuple[str | None, Any]] = []
        self.lap(None)

    def _mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._gpu))
        return event

    def lap(self, phase: str | None) -> None:
        """Add the time since the last lap to a phase; None discards it."""
        self._marks.append((phase, time.perf_counter() if self._gpu is None else self._mark()))

    def take(self) -> dict[str, float]:
        """Return the seconds by phase, and start again from zero. Waits for the GPU."""
        if self._gpu is not None:
            self._marks[-1][1].synchronize()
        seconds: dict[str, float] = {}
        for (_, before), (phase, after) in pairwise(self._marks):
            if phase is not None:
                spent = after - before if self._gpu is None else before.elapsed_time(after) / 1000
                seconds[phase] = seconds.get(phase, 0.0) + spent
        self._marks = self._marks[-1:]
        return seconds
