"""Limits of processes: their life, their memory."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["die_with_parent", "memory_limit"]

PR_SET_PDEATHSIG = 1
"""Option of ``prctl``: the signal that a process gets when the thread that started it ends."""


def die_with_parent() -> None:
    """Have this process killed when its parent ends, even if it hangs. Linux only; elsewhere nothing is done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let this process allocate at most ``more`` bytes within the block; beyond that, ``MemoryError`` is raised.

    This counts address space, of all threads. Linux only; elsewhere nothing is limited.
    """
    statistics = Path("/proc/self/statm")
    if sys.platform != "linux" or not statistics.exists():
        yield
        return
    import resource

    before, most = resource.getrlimit(resource.RLIMIT_AS)
    used = int(statistics.read_text().split()[0]) * resource.getpagesize()
    wanted = min([used + more, *(limit for limit in (before, most) if limit != resource.RLIM_INFINITY)])
    resource.setrlimit(resource.RLIMIT_AS, (wanted, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (before, most))
