"""Files of feature banks: features of the boxes of every key frame, written once and read by window.

A bank is a folder with ``features.npy`` (rows, channels) float16 or float32, and ``index.json``, which has ``keys``
(``video,second``) and the number of ``rows`` of each, in the order of the features. Workers map the features into
memory, so that all of them share one copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np

from vidcore.errors import DataError, UserError
from vidcore.files import atomic_write
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["FeatureBank", "bank_key", "open_bank", "write_bank"]

FEATURES, INDEX = "features.npy", "index.json"


class FeatureBank:
    """Rows of features of each second of videos.

    Args:
        features: (rows, channels) of all key frames.
        rows: first row, and the one after the last, of each (video, second).
    """

    def __init__(self, features: Array, rows: Mapping[tuple[str, int], tuple[int, int]]) -> None:
        self.features, self.rows = features, rows
        self.channels = int(features.shape[1])

    @classmethod
    def of(cls, features: Mapping[tuple[str, int], Array]) -> Self:
        """Return a bank in memory, of (n, channels) features of each (video, second)."""
        if not features:
            raise DataError("a feature bank needs the features of at least one key frame")
        return cls(np.concatenate(list(features.values())), _rows(features, map(len, features.values())))

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Open the bank of a folder.

        Raises:
            UserError: the folder has no bank, or a damaged one.
        """
        folder = Path(folder)
        if not (folder / INDEX).is_file():
            raise UserError(
                f"{folder} has no feature bank (no {INDEX}): a stage with the job MakeFeatureBank writes one"
            )
        try:
            index = json.loads((folder / INDEX).read_text("utf-8"))
            features = np.load(folder / FEATURES, mmap_mode="r", allow_pickle=False)
            keys = [(str(video), int(second)) for video, _, second in (key.rpartition(",") for key in index["keys"])]
            counts = [int(n) for n in index["rows"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{folder}: damaged feature bank: {error}") from error
        if features.ndim != 2 or len(keys) != len(counts) or sum(counts) != len(features) or min(counts, default=0) < 0:
            raise UserError(f"{folder}: damaged feature bank: {INDEX} and {FEATURES} do not belong together")
        return cls(features, _rows(keys, counts))

    def window(self, video: str, first: int, seconds: int, most: int, rng: np.random.Generator) -> Array:
        """Return ``most`` rows for each of ``seconds`` seconds from ``first``: (seconds * most, channels) float32.

        A second with more rows is represented by a random choice; what a second lacks is zeros.
        """
        out = np.zeros((seconds, most, self.channels), np.float32)
        for i in range(seconds):
            start, stop = self.rows.get((video, first + i), (0, 0))
            if (count := stop - start) > most:
                out[i] = self.features[start + np.sort(rng.choice(count, most, replace=False))]
            elif count:
                out[i, :count] = self.features[start:stop]
        return out.reshape(seconds * most, self.channels)


@lru_cache(maxsize=4)
def open_bank(folder: str) -> FeatureBank:
    """Return the bank of a folder, opened once in a process."""
    return FeatureBank.read(folder)


def write_bank(
    folder: Path, features: Array, keys: Iterable[tuple[str, int]], counts: Iterable[int], **facts: Any
) -> None:
    """Write a bank: (rows, channels) features, the (video, second) of each key frame and its number of rows.

    ``facts`` are kept in the index for people.
    """
    with atomic_write(folder / FEATURES) as file:
        np.save(file, features, allow_pickle=False)
    index = {"keys": [f"{video},{second}" for video, second in keys], "rows": list(counts), **facts}
    with atomic_write(folder / INDEX) as file:
        file.write(json.dumps(index, ensure_ascii=False).encode())


def bank_key(sample: Sample) -> tuple[str, int]:
    """Return the video and the second of a key frame; raise ``DataError`` if the sample is not a key frame."""
    if "timestamp" not in sample.meta:
        raise DataError(f"sample {sample.index} ({sample.path}) has no time: a feature bank is read by key frames")
    name = sample.key or Path(sample.path or "").stem
    return name.partition(",")[0], int(sample.meta["timestamp"])


def _rows(keys: Iterable[tuple[str, int]], counts: Iterable[int]) -> dict[tuple[str, int], tuple[int, int]]:
    rows, start = {}, 0
    for key, count in zip(keys, counts, strict=True):
        rows[key] = (start, start + count)
        start += count
    return rows
