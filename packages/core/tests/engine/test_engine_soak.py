"""A long run uses no more memory and open files at its end than near its beginning.

``VIDCORE_SOAK=50000 pytest -s packages/core/tests/engine/test_engine_soak.py`` takes as many steps as you like.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vidcore.engine.observers import JsonLines
from vidcore.protocols import Observer
from vidcore.tools.loggers import TensorBoard

STEPS = int(os.environ.get("VIDCORE_SOAK", "2000"))
EVALUATIONS = 20
WARM_UP = 5
"""Evaluations after which nothing may grow."""


class Gauge(Observer):
    """Memory and open files of the process and its workers after every evaluation."""

    def __init__(self) -> None:
        self.memory: list[int] = []
        self.workers: list[int] = []
        self.handles: list[int] = []

    def on_evaluation(self, epoch: int, step: int, scores: Any) -> None:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # return memory that the allocator caches
        self.memory.append(_resident("self"))
        self.workers.append(max(_resident(str(child.pid)) for child in multiprocessing.active_children()))
        self.handles.append(len(os.listdir("/proc/self/fd")))


def _resident(process: str) -> int:
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, calls glibc")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of TensorBoard
def test_memory_and_handles_do_not_grow(toy: ModuleType, tmp_path: Path) -> None:
    gauge, board = Gauge(), TensorBoard()
    every = STEPS // EVALUATIONS
    options = {"val_interval": every, "checkpoint_interval": every, "checkpoint_steps": 50, "keep": 3}
    options |= {"ema_decay": 0.99, "precise_bn": 2, "val_loss": True, "log_interval": 5}
    toy.train(tmp_path, steps=STEPS, workers=1, extra=8, observers=(JsonLines(), board, gauge), **options)
    board.on_end({})
    growth = {name: values[-1] - values[WARM_UP] for name, values in (("run", gauge.memory), ("worker", gauge.workers))}
    print(*(f"{STEPS} steps: {name} {bytes_ / 2**20:+.2f} MiB," for name, bytes_ in growth.items()), gauge.handles)
    assert len(gauge.handles) == EVALUATIONS
    settled = gauge.handles[WARM_UP:]
    assert max(settled) - min(settled) < 8, "more than the batches that happen to be alive"
    assert max(growth.values()) < 2**20
    assert not multiprocessing.active_children()
