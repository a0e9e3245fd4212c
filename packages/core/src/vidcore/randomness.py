"""Randomness as a function of place, not of history.

Every random number of a run follows from its seed and where it is drawn: (seed, epoch, sample) in the
data, (seed, step, process) in the model. So nothing about generators needs saving, and a resumed
run draws what the uninterrupted one would have drawn.
"""

from __future__ import annotations

import os
import random

import numpy as np

__all__ = ["be_deterministic", "reseed", "sample_rng"]


def sample_rng(seed: int, epoch: int, index: int, attempt: int = 0, repeat: int = 0) -> np.random.Generator:
    """Return the generator of one sample in one epoch; ``repeat`` tells samples made of one video apart.

    >>> sample_rng(0, 1, 5).random() == sample_rng(0, 1, 5).random()
    True
    """
    return np.random.default_rng((seed, epoch, index, attempt, repeat))


def reseed(seed: int, step: int = 0, rank: int = 0) -> None:
    """Seed torch (the CPU and the GPU in use), NumPy's global generator and ``random`` for one step of one process."""
    import torch

    state = hash((seed, step, rank)) & 0xFFFF_FFFF_FFFF_FFFF  # quick, and of whole numbers the same everywhere
    torch.default_generator.manual_seed(state)  # torch.manual_seed takes a millisecond for devices nobody uses
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(state)
    np.random.seed(state >> 32)
    random.seed(state)


def be_deterministic() -> None:
    """Let torch use only algorithms that give the same bits every time, or fail."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for this
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
