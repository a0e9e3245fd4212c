"""Files of feature banks: features of the boxes of every key frame, written once and read by window.

A bank is a folder with ``features.npy`` (rows, channels) float16 or float32, and ``index.json``, which has ``keys``
(``video,second``) and the number of ``rows`` of each, in the order of the features. Workers map the features into
memory, so that all of them share one copy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.lib.format import write_array_header_1_0

from vidcore.errors import DataError, UserError
from vidcore.files import atomic_write
from vidcore.locks import make_folder
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["FeatureBank", "bank_key", "has_bank", "open_bank", "write_bank"]

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
        self.videos = frozenset(video for video, _ in rows)

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
        if not has_bank(folder):
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

    def __iter__(self) -> Iterator[tuple[tuple[str, int], Array]]:
        """Yield (video, second) and features of each key frame."""
        for key, (start, stop) in self.rows.items():
            yield key, self.features[start:stop]

    def window(self, video: str, first: int, seconds: int, most: int, rng: np.random.Generator) -> Array:
        """Return ``most`` rows for each of ``seconds`` seconds from ``first``: (seconds * most, channels) float32.

        A second with more rows is represented by a random choice; what a second lacks is zeros. Raises ``DataError`` if
        the bank has no second of this video, because it was then made for others.
        """
        if video not in self.videos:
            raise DataError(f"the feature bank has no key frame of the video {video}: it was made for other videos")
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
    folder: Path, rows: Iterable[tuple[tuple[str, int], Array]], channels: int, dtype: str = "<f2", **facts: str
) -> int:
    """Write a bank as its rows come, and return the number of its boxes.

    Args:
        folder: is made.
        rows: (video, second) of each key frame, and the (n, channels) features of its boxes.
        channels: of a box.
        dtype: NumPy's name of the type in the file: ``<f2`` or ``<f4``.
        facts: kept in the index for people.
    """
    keys, counts = [], []
    make_folder(folder)
    with atomic_write(folder / FEATURES) as file:
        header = {"descr": dtype, "fortran_order": False}
        write_array_header_1_0(file, {**header, "shape": (0, channels)})
        for (video, second), features in rows:
            keys.append(f"{video},{second}")
            counts.append(len(features))
            file.write(np.ascontiguousarray(features, dtype).tobytes())
        file.seek(0)  # NumPy leaves room for any number of rows
        write_array_header_1_0(file, {**header, "shape": (sum(counts), channels)})
    index = {"keys": keys, "rows": counts, **facts}
    with atomic_write(folder / INDEX) as file:
        file.write(json.dumps(index, ensure_ascii=False).encode())
    return sum(counts)


def bank_key(sample: Sample) -> tuple[str, int]:
    """Return the video and the second of a key frame; its key is ``video,second``.

    Raises ``DataError`` if it is something else.
    """
    video, comma, second = (sample.key or "").rpartition(",")
    try:
        if not (video and comma):
            raise ValueError
        return video, int(float(second))
    except ValueError:
        raise DataError(
            f"sample {sample.index} ({sample.path}): a feature bank needs keys like 'video,0902', got {sample.key!r}"
        ) from None


def has_bank(folder: Path) -> bool:
    """Return whether a bank was written completely."""
    return (folder / INDEX).is_file()


def _rows(keys: Iterable[tuple[str, int]], counts: Iterable[int]) -> dict[tuple[str, int], tuple[int, int]]:
    rows, start = {}, 0
    for key, count in zip(keys, counts, strict=True):
        rows[key] = (start, start + count)
        start += count
    return rows
