"""Feature files: reading, and bringing them to a fixed length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vid_localization.overlaps import Array
from vidcore.errors import DataError

__all__ = ["SUFFIXES", "read_features", "read_table", "rescale"]

SUFFIXES = (".csv", ".npy", ".pt")


def read_features(path: Path) -> Array:
    """Read the features of a video: (T, C) float32.

    A CSV table has a line of column names, then a row per position; a ``.npy`` file the array, a ``.pt`` file
    a tensor.

    Raises:
        DataError: there is no such file, or it is something else.
    """
    if not path.is_file():
        raise DataError(f"feature file {path} does not exist")
    if path.suffix == ".csv":
        features = read_table(path)[1]
    elif path.suffix == ".npy":
        try:
            features = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"feature file {path} is no array: {error}") from None
    elif path.suffix == ".pt":
        features = _read_tensor(path)
    else:
        raise DataError(f"feature file {path} must end in {', '.join(SUFFIXES)}")
    if features.ndim != 2 or not features.size or features.dtype.kind not in "fiu":
        raise DataError(f"feature file {path} must hold numbers of shape (positions, channels), got {features.shape}")
    return features.astype(np.float32, copy=False)


def read_table(path: Path) -> tuple[list[str], Array]:
    """Read a table of numbers: names of the columns, and the rows (n, columns) float64.

    Raises ``DataError`` where it is none.
    """
    try:
        with path.open(encoding="utf-8") as file:
            names = file.readline().strip().split(",")
            lines = [line for line in file if line.strip()]
        rows = np.array([line.split(",") for line in lines], np.float64).reshape(len(lines), -1)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no table of numbers: {error}") from None
    if len(lines) and rows.shape[1] != len(names):
        raise DataError(f"{path}: {len(names)} columns are named, but rows have {rows.shape[1]}")
    return names, rows.reshape(-1, len(names))


def rescale(features: Array, length: int) -> Array:
    """Features at evenly spaced positions between the first and the last, interpolated: (length, C).

    Args:
        features: (T, C), T at least 1.
        length: at least 1.

    >>> rescale(np.array([[0.0], [4.0]]), 3).ravel().tolist()
    [0.0, 2.0, 4.0]
    """
    if len(features) == length:
        return features
    at = np.linspace(0, len(features) - 1, length)
    left = np.minimum(at.astype(np.int64), len(features) - 1)
    right = np.minimum(left + 1, len(features) - 1)
    share = (at - left)[:, None].astype(features.dtype)
    out: Array = features[left] * (1 - share) + features[right] * share
    return out


def _read_tensor(path: Path) -> Array:
    import torch

    try:
        tensor: Any = torch.load(path, map_location="cpu", weights_only=True)
        return np.asarray(tensor.float().numpy())
    except Exception as error:  # whatever a damaged archive makes torch say
        raise DataError(f"feature file {path} is no tensor: {error}") from None
