"""Processes that do not outlive their parent."""

from __future__ import annotations

import ctypes
import signal
import sys

__all__ = ["die_with_parent"]

PR_SET_PDEATHSIG = 1
"""Option of ``prctl``: the signal that a process gets when the thread that started it ends."""


def die_with_parent() -> None:
    """Have this process killed when its parent ends, even if it hangs. Linux only; elsewhere nothing is done."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
