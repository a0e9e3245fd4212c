"""Processes that do not outlive those who started them."""

from __future__ import annotations

import ctypes
import signal
import sys

__all__ = ["die_with_parent"]

PR_SET_PDEATHSIG = 1
"""Of Linux: the signal that a process gets when the thread that started it ends."""


def die_with_parent() -> None:
    """Let this process be killed when its parent ends, whatever it hangs in; only Linux can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
