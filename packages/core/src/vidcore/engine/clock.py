"""How long each phase of a step takes."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch

__all__ = ["Clock"]


class Clock:
    """Says how long each phase took; every lap ends one phase and begins the next.

    A GPU works behind the back of the program: a batch that comes late costs nothing while it is still busy
    with the one before, and a forward pass takes longer than the program needs to order it. So what
    counts there is the GPU's time: marks go through its queue, and are read when the seconds are taken.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        """
        Args:
            device: where the work is done; where not given, on the CPU.
        """
        self._gpu = device if device is not None and device.type == "cuda" else None
        self._marks: list[tuple[str | None, Any]] = []
        self.lap(None)

    def _mark(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._gpu))
        return event

    def lap(self, phase: str | None) -> None:
        """Book the time since the last lap on a phase; None forgets it."""
        self._marks.append((phase, time.perf_counter() if self._gpu is None else self._mark()))

    def take(self) -> dict[str, float]:
        """Return the seconds by phase, and start again from zero. A GPU is waited for."""
        if self._gpu is not None:
            self._marks[-1][1].synchronize()
        seconds: dict[str, float] = {}
        for (_, before), (phase, after) in pairwise(self._marks):
            if phase is not None:
                spent = after - before if self._gpu is None else before.elapsed_time(after) / 1000
                seconds[phase] = seconds.get(phase, 0.0) + spent
        self._marks = self._marks[-1:]
        return seconds
