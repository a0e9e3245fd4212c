"""Randomness as a function of place, not of history.

Every random number of a run depends only on its seed and on where it is drawn: (seed, epoch, sample) in the
data, (seed, step, rank) in the model. So no state of a generator is saved, and a resumed run draws the
numbers that the uninterrupted run would have drawn.
"""

from __future__ import annotations

import os
import random

import numpy as np

__all__ = ["be_deterministic", "reseed", "sample_rng"]


def sample_rng(seed: int, epoch: int, index: int, attempt: int = 0, repeat: int = 0) -> np.random.Generator:
    """Return the generator of one sample in one epoch; ``repeat`` separates samples made of one video.

    >>> sample_rng(0, 1, 5).random() == sample_rng(0, 1, 5).random()
    True
    """
    return np.random.default_rng((seed, epoch, index, attempt, repeat))


def reseed(seed: int, step: int = 0, rank: int = 0) -> None:
    """Seed torch (the CPU and the GPU in use), NumPy's global generator and ``random`` for one step of one process."""
    import torch

    state = hash((seed, step, rank)) & 0xFFFF_FFFF_FFFF_FFFF  # fast, and for integers the same on every machine
    torch.default_generator.manual_seed(state)  # torch.manual_seed spends a millisecond on unused devices
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(state)
    np.random.seed(state >> 32)
    random.seed(state)


def be_deterministic() -> None:
    """Make torch use deterministic algorithms only, or raise."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS requires it
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
