"""Checks that all readers share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vidcore.errors import VideoError

__all__ = ["existing_file", "frame_numbers"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]


def existing_file(path: str | Path) -> None:
    """Raise ``VideoError`` where there is no file, or nothing in it."""
    file = Path(path)
    if not file.is_file():
        raise VideoError(path, "is a folder, not a video file" if file.is_dir() else "does not exist")
    if not file.stat().st_size:
        raise VideoError(path, "is empty (0 bytes)")


def frame_numbers(
    path: str, indices: Sequence[int] | np.ndarray[Any, Any], length: int, advertised: int = 0
) -> Numbers:
    """Return the indices as (n,) int64; ``VideoError`` where one is not among the ``length`` frames of the video."""
    numbers = np.asarray(indices)
    if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
        raise ValueError(f"frame indices must be a flat sequence of integers, got {numbers.dtype}{numbers.shape}")
    wrong = numbers[(numbers < 0) | (numbers >= length)]
    if wrong.size:
        promised = f" (only {length} of the {advertised} it advertises can be decoded)" if advertised > length else ""
        raise VideoError(path, f"frame {wrong[0]} was asked for, but it has frames 0 to {length - 1}{promised}")
    return numbers.astype(np.int64)
