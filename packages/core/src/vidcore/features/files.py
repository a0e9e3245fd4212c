"""Feature files: read, write, and rescale to a fixed length."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import numpy as np
from attrs import asdict, field, frozen
from attrs.validators import and_, ge, instance_of, lt, optional

from vidcore.errors import DataError, VideoError
from vidcore.files import atomic_write, parse_json, write_json
from vidcore.typing import Array

__all__ = ["SUFFIXES", "FeatureInfo", "read_features", "read_table", "rescale", "write_features"]

SUFFIXES = (".csv", ".npy", ".pt")
TIME = "time"
"""Column of a table with the middle of each position in seconds, which is not a feature."""

_COUNT = and_(instance_of(int), ge(0))
_OPTIONAL_COUNT = optional(_COUNT)
_SECONDS = optional(and_(instance_of((int, float)), ge(0), lt(math.inf)))


@frozen(kw_only=True)
class FeatureInfo:
    """Facts about a feature file, which ``vidcore features`` writes beside it with the suffix ``.json``.

    Row i describes the video around ``(i + 0.5) * feature_duration / rows`` seconds.
    """

    video: str = field(validator=instance_of(str))
    size: int | None = field(default=None, validator=_OPTIONAL_COUNT)
    """Bytes of the video; of a folder, of all its files."""
    modified: int | None = field(default=None, validator=_OPTIONAL_COUNT)
    """Modification time of the video in nanoseconds since 1970."""
    sha256: str | None = field(default=None, validator=optional(instance_of(str)))
    """SHA-256 of the video file."""
    settings: str = field(validator=instance_of(str))
    """Fingerprint of the settings that the features were made with."""
    frames: int = field(validator=_COUNT)
    fps: float | None = field(default=None, validator=_SECONDS)
    duration: float | None = field(default=None, validator=_SECONDS)
    """Seconds of the video; None if its frame rate is unknown."""
    feature_duration: float | None = field(default=None, validator=_SECONDS)
    """Seconds, from the beginning, that the rows cover: up to half a position less or more than the video."""
    rows: int = field(validator=_COUNT)
    channels: int = field(validator=_COUNT)

    @staticmethod
    def path(features: Path) -> Path:
        """Return the path of the JSON file beside a feature file."""
        return features.with_suffix(".json")

    @classmethod
    def read(cls, features: Path) -> FeatureInfo | None:
        """Read the JSON file beside a feature file; None if there is none, or it is something else."""
        try:
            return cls(**parse_json(cls.path(features).read_text(encoding="utf-8", errors="surrogateescape")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, features: Path) -> None:
        write_json(self.path(features), asdict(self))


def read_features(path: Path) -> Array:
    """Read the features of a video: (T, C) float32.

    A CSV table has a line of column names, then a row per position (a column ``time`` is skipped); a ``.npy`` file
    holds an array, a ``.pt`` file a tensor.

    Raises:
        VideoError: the file does not exist, or holds something else.
    """
    if path.suffix not in SUFFIXES:
        raise VideoError(
            path, f"is not a feature file ({', '.join(SUFFIXES)}); vidcore features makes these from videos"
        )
    if not path.is_file():
        raise VideoError(path, "is a folder, not a feature file" if path.is_dir() else "does not exist")
    if path.suffix == ".csv":
        try:
            names, features = read_table(path)
        except DataError as error:
            raise VideoError(path, str(error).removeprefix(f"{path}").lstrip(": ")) from None
        features = features[:, [name != TIME for name in names]]
    elif path.suffix == ".npy":
        try:
            # mapped, so that a header that promises too much data fails before memory is allocated
            features = np.lib.format.open_memmap(path, mode="r")
        except OSError as error:
            raise VideoError(path, f"cannot be read: {error.strerror or error}") from error
        except Exception:  # of many types; NumPy's messages suggest unpickling
            raise VideoError(path, "is damaged, or not an array of numbers") from None
    else:
        features = _read_tensor(path)
    if features.ndim != 2 or not features.size or features.dtype.kind not in "fiu":
        raise VideoError(path, f"must hold numbers of shape (positions, channels), got {features.shape}")
    with np.errstate(over="ignore"):  # overflow is reported below, as inf
        features = np.array(features, np.float32)  # a copy, no longer mapped
    if not np.isfinite(features).all():
        row, column = np.argwhere(~np.isfinite(features))[0].tolist()
        raise VideoError(path, f"channel {column} of position {row} is {features[row, column]}")
    return features


def write_features(path: Path, features: Array, kind: Literal["npy", "csv"], seconds: float | None = None) -> None:
    """Write (T, C) features to a file atomically.

    The columns of a table are ``f0``, ``f1``, ...; if ``seconds``, the time that all positions cover, is given, they
    follow a column ``time`` with the middle of each position.
    """
    with atomic_write(path) as file:
        if kind == "npy":
            np.save(file, features)
            return
        names = [f"f{i}" for i in range(features.shape[1])]
        if seconds is not None:
            times = (np.arange(len(features)) + 0.5) * (seconds / len(features))
            names, features = [TIME, *names], np.concatenate((times[:, None], features), 1)
        np.savetxt(file, features, fmt="%.9g", delimiter=",", header=",".join(names), comments="")


def read_table(path: Path) -> tuple[list[str], Array]:
    """Read a CSV table of numbers; return the names of the columns, and the rows (n, columns) float64.

    Raises ``DataError`` if the file is not such a table.
    """
    try:
        with path.open(encoding="utf-8") as file:
            names = file.readline().strip().split(",")
            lines = [line for line in file if line.strip()]
        rows = np.array([line.split(",") for line in lines], np.float64).reshape(
            len(lines), -1 if lines else len(names)
        )
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: is not a table of numbers: {error}") from None
    if len(lines) and rows.shape[1] != len(names):
        raise DataError(f"{path}: has names for {len(names)} columns, but rows of {rows.shape[1]}")
    return names, rows.reshape(-1, len(names))


def rescale(features: Array, length: int, samples: int = 3) -> Array:
    """Rescale features to a fixed length: means over equal parts of the time between the first and the last.

    Each part is sampled at evenly spaced points by linear interpolation, as for the features that published
    localization models were trained on. Features that already have the length are returned unchanged.

    Args:
        features: (T, C), T at least 1.
        length: number of parts.
        samples: points per part, including its bounds.

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
    from vidcore.engine.torch_files import read_torch_file

    try:
        return np.asarray(read_torch_file(path).float().numpy())
    except Exception as error:  # damage shows itself in many types of errors
        raise VideoError(path, f"is not a tensor: {error}") from None
