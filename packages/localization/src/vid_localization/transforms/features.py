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


def rescale(features: Array, length: int, samples: int = 3) -> Array:
    """Features of a fixed length: means over equal parts of the time between the first and the last.

    Each part is sampled at evenly spaced points, interpolated, as for the features that published localization
    models were trained on. Features that have the length already stay as they are.

    Args:
        features: (T, C), T at least 1.
        length: parts.
        samples: points of a part, its bounds included.

    Returns:
        (length, C).

    >>> rescale(np.array([[0.0], [4.0]]), 4).ravel().tolist()
    [0.5, 1.5, 2.5, 3.5]
    """
    if len(features) == length:
        return features
    edges = np.linspace(0, len(features) - 1, length + 1)
    at = edges[:-1] + np.linspace(0, 1, samples)[:, None] * np.diff(edges)  # (samples, length)
    left = np.minimum(at.astype(np.int64), len(features) - 1)
    right = np.minimum(left + 1, len(features) - 1)
    share = (at - left)[..., None].astype(features.dtype)
    out: Array = (features[left] * (1 - share) + features[right] * share).mean(0)
    return out


def _read_tensor(path: Path) -> Array:
    import torch

    try:
        tensor: Any = torch.load(path, map_location="cpu", weights_only=True)
        return np.asarray(tensor.float().numpy())
    except Exception as error:  # whatever a damaged archive makes torch say
        raise DataError(f"feature file {path} is no tensor: {error}") from None
