"""An index of videos on disk: an embedding for each window of each video.

A folder with ``index.jsonl``, whose first line has the settings, and which has a line for each video, and two files of
numbers that are only appended to, ``vectors-N.bin`` and ``spans-N.bin``. A line is written after its numbers, so a
process that is killed leaves numbers without a line, which are cut off later. A removed video leaves numbers without a
line in between; ``compact`` writes new files, and the new first line names these.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from attrs import asdict, define, field, frozen

from vidcore.errors import DataError, UserError
from vidcore.features.folder import file_state, what_features_depend_on
from vidcore.files import append_line, atomic_write, dump_json, parse_json, sha256
from vidcore.locks import Lock, remove_leftovers
from vidcore.task.run_folder import differences
from vidcore.typing import Array

__all__ = ["Match", "Nearest", "Precision", "Video", "VideoIndex"]

Table = dict[str, Any]
Precision = Literal["float32", "float16"]
FORMAT = 1
BLOCK = 1 << 16
"""Rows that are multiplied at a time, which bounds the memory of a search."""
HOW = "delete the folder and make it again with vidcore embed"


@frozen(kw_only=True)
class Video:
    """A video in an index."""

    video: str
    """Absolute path."""
    size: int | None
    """Bytes; of a folder of frames, of all its files."""
    modified: int | None
    """Modification time in nanoseconds since 1970."""
    sha256: str | None
    """SHA-256 of a file."""
    in_frames: bool
    """Spans are numbers of frames, since the frame rate is unknown."""
    row: int
    """First of its rows."""
    rows: int
    """Number of windows."""


@frozen
class Match:
    """A window that fits a query."""

    video: str
    start: float
    """Seconds from the beginning of the video, or frames if ``in_frames``."""
    end: float
    in_frames: bool
    cosine: float
    """Similarity of the query and the window, from -1 to 1."""
    deviations: float
    """How many standard deviations of all windows the cosine is above their mean."""


@frozen
class Nearest:
    """The result of a query."""

    matches: tuple[Match, ...]
    """Best first; of equal ones, the one that was added first."""
    windows: int
    """Number of windows that were compared."""
    mean: float
    """Of the cosines of all windows."""
    deviation: float
    """Standard deviation of the cosines of all windows."""


@define(eq=False)
class VideoIndex:
    """The content of an index; see ``load`` and ``open_to_write``."""

    path: Path
    settings: Table
    """Those of ``vidcore.features.folder.FeatureFolder``, with ``window``: what embeddings depend on."""
    precision: Precision
    channels: int
    number: int
    """N in the names of the files of numbers."""
    videos: dict[str, Video] = field(factory=dict)
    total: int = 0
    """Rows in the files, also of removed videos."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an index.

        Raises ``DataError`` if the folder is not an index, or is damaged.
        """
        index, _ = cls._read(path)
        for file, width in index._files():
            size = file.stat().st_size if file.is_file() else -1
            if size < index.total * width:
                has = "is missing" if size < 0 else f"has {size // width} rows"
                raise DataError(
                    f"{path}: is damaged: {file.name} {has}, and {index.file.name} lists {index.total}; {HOW}"
                )
        return index

    @classmethod
    def _read(cls, path: Path) -> tuple[Self, int]:
        """Return an index, and the bytes of the complete lines of its file."""
        file = path / "index.jsonl"
        try:
            data = file.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise DataError(f"{path}: is not an index: {file.name} is missing; vidcore embed makes one") from None
        complete = data.rfind(b"\n") + 1  # what follows was being written when a process was killed
        lines = data[:complete].decode("utf-8", "surrogateescape").splitlines()
        index = None
        for number, line in enumerate(lines or [""], 1):
            try:
                content = parse_json(line)
                if index is None:
                    index = cls._of_head(path, content)
                elif "removed" in content:
                    index.videos.pop(content["removed"])
                else:
                    index._list(Video(**content))
            except (ValueError, TypeError, KeyError) as error:
                raise DataError(f"{file}:{number}: is damaged ({error}); {HOW}") from None
        assert index is not None
        return index, complete

    @classmethod
    def _of_head(cls, path: Path, head: Any) -> Self:
        version, precision = head["vidcore_index"], head["precision"]
        channels, number = head["channels"], head["number"]
        if version != FORMAT:
            raise ValueError(f"vidcore_index is {version!r:.40}, and this version reads {FORMAT}")
        if precision not in ("float32", "float16"):
            raise ValueError(f"precision is {precision!r:.40}")
        if type(channels) is not int or type(number) is not int or not 0 < channels <= 1 << 16 or number < 0:
            raise ValueError(f"channels is {channels!r:.40}, number is {number!r:.40}")
        for key in ("checkpoint", "sha256", "stride", "window"):
            if not isinstance(head["settings"][key], str):
                raise ValueError(f"settings.{key} must be a string")
        if not isinstance(head["settings"]["task"], dict):
            raise ValueError("settings.task must be a table")
        return cls(path, head["settings"], precision, channels, number)

    def _list(self, video: Video) -> None:
        numbers = all(type(number) is int and number >= 0 for number in (video.row, video.rows))
        if not isinstance(video.video, str) or not numbers or video.row < self.total:
            raise ValueError(f"rows {video.row} to {video.row + video.rows} overlap others")
        self.videos[video.video] = video
        self.total = video.row + video.rows

    @property
    def file(self) -> Path:
        """The file with settings and videos."""
        return self.path / "index.jsonl"

    def _files(self) -> tuple[tuple[Path, int], tuple[Path, int]]:
        """Return the files of numbers, and the bytes of a row of each."""
        width = self.channels * np.dtype(self.precision).itemsize
        return (self.path / f"vectors-{self.number}.bin", width), (self.path / f"spans-{self.number}.bin", 16)

    def arrays(self) -> tuple[Array, Array]:
        """Return vectors (total, channels) of length 1, and spans (total, 2) float64, mapped from the files."""
        shapes = ((self.total, self.channels), self.precision), ((self.total, 2), "float64")
        if not self.total:
            return tuple(np.zeros(shape, kind) for shape, kind in shapes)  # type: ignore[return-value]
        files = self._files()
        vectors, spans = (
            np.memmap(file, kind, "c", shape=shape) for (file, _), (shape, kind) in zip(files, shapes, strict=True)
        )
        return vectors, spans

    @property
    def windows(self) -> int:
        """Number of windows of all videos."""
        return sum(video.rows for video in self.videos.values())

    def nearest(self, query: Array, top: int = 5, one_per_video: bool = False) -> Nearest:
        """Compare a query with every window, exactly, in float32.

        Args:
            query: (channels,) of any length but 0.
            top: number of windows to return.
            one_per_video: return only the best window of each video.

        Raises ``UserError`` if the query has another number of channels, or the index is empty.
        """
        if query.shape != (self.channels,):
            raise UserError(f"{self.path}: has vectors of {self.channels} channels, the query has {query.shape}")
        videos = [video for video in self.videos.values() if video.rows]
        if not videos:
            raise UserError(f"{self.path}: has no videos; vidcore embed adds some")
        vectors, spans = self.arrays()
        unit = (query / np.linalg.norm(query)).astype(np.float32)
        cosines = np.empty(self.total, np.float32)
        for first in range(0, self.total, BLOCK):  # with all threads, and a fast conversion of float16
            block = torch.from_numpy(vectors[first : first + BLOCK]).float()
            torch.mv(block, torch.from_numpy(unit), out=torch.from_numpy(cosines[first : first + BLOCK]))
        videos.sort(key=lambda video: video.row)
        starts, counts = (np.array([getattr(video, name) for video in videos]) for name in ("row", "rows"))
        rows = np.repeat(starts - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())  # of no removed video
        kept = cosines[rows]
        owners = np.repeat(np.arange(len(videos)), counts)
        mean, deviation = float(kept.mean(dtype=np.float64)), float(kept.std(dtype=np.float64))
        if one_per_video:
            best = np.maximum.reduceat(kept, np.cumsum(counts) - counts)
            leaders = _largest(best, top)
            places = [int(np.cumsum(counts)[i] - counts[i] + _slice(kept, counts, i).argmax()) for i in leaders]
        else:
            places = _largest(kept, top).tolist()
        matches = []
        for place in places:
            video, (start, end) = videos[owners[place]], spans[rows[place]].tolist()
            above = (float(kept[place]) - mean) / deviation if deviation else 0.0
            matches.append(Match(video.video, start, end, video.in_frames, float(kept[place]), above))
        return Nearest(tuple(matches), len(kept), mean, deviation)

    # Writing

    @classmethod
    @contextmanager
    def open_to_write(
        cls, path: Path, settings: Table, precision: Precision, overwrite: bool = False
    ) -> Iterator[Self]:
        """Create an index, or open one with the same settings, for this process alone.

        Args:
            path: of the folder.
            settings: see the class.
            precision: of the vectors.
            overwrite: start again if the index has other settings.

        Raises:
            UserError: another process writes to it; or it has other settings, such as other weights.
            DataError: it is damaged.
        """
        path.mkdir(parents=True, exist_ok=True)
        with Lock(path / ".lock") as lock:
            if not lock.take():
                raise UserError(f"{path}: another process adds videos to this index; wait for it")
            remove_leftovers(path)
            fresh = cls(path, settings, precision, 0, 0)
            if not fresh.file.exists():
                strange = sorted(p.name for p in path.iterdir() if p.name[0] != "." and p.name != "failures.jsonl")
                if strange:
                    raise UserError(f"{path}: is not an index, and has files ({strange[0]}); choose another folder")
                yield fresh
                return
            index, complete = cls._read(path)
            old = {**what_features_depend_on(index.settings), "precision": index.precision}
            new = {**what_features_depend_on(settings), "precision": precision}
            if different := next(differences(old, new), None):
                if not overwrite:
                    raise UserError(
                        f"{path}: was made with different settings: {different}; choose another folder, or start again "
                        "with --overwrite"
                    )
                for file in (index.file, *path.glob("vectors-*.bin"), *path.glob("spans-*.bin")):
                    file.unlink(missing_ok=True)
                yield fresh
                return
            cls.load(path)
            os.truncate(index.file, complete)
            for file, width in index._files():
                os.truncate(file, index.total * width)
            yield index

    def has(self, video: Path) -> bool:
        """Whether the index has exactly this video; a copy differs in its modification time only."""
        known = self.videos.get(str(video.absolute()))
        if known is None:
            return False
        size, modified = file_state(video)
        if size is None or known.size != size:
            return False
        return known.modified == modified or (video.is_file() and known.sha256 == sha256(video))

    def add(self, path: Path, vectors: Array, spans: Array, in_frames: bool) -> None:
        """Add a video, in place of what the index had of it.

        Args:
            path: of the video.
            vectors: (windows, channels) of any length but 0.
            spans: (windows, 2) start and end of each window.
            in_frames: ``spans`` are frames, not seconds.
        """
        if not self.channels:
            self.channels = vectors.shape[1]
            for file, _ in self._files():
                file.write_bytes(b"")
            append_line(self.file, dump_json(self._head()))
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        for (file, _), rows in zip(self._files(), (unit.astype(self.precision), spans.astype("<f8")), strict=True):
            with file.open("ab") as opened:
                opened.write(np.ascontiguousarray(rows).tobytes())
                opened.flush()
                os.fsync(opened.fileno())
        size, modified = file_state(path)
        video = Video(
            video=str(path.absolute()),
            size=size,
            modified=modified,
            sha256=sha256(path) if path.is_file() else None,
            in_frames=in_frames,
            row=self.total,
            rows=len(vectors),
        )
        append_line(self.file, dump_json(asdict(video)))
        self._list(video)

    def missing(self) -> list[str]:
        """Return the videos that no longer exist."""
        return [name for name in self.videos if not os.path.exists(name)]

    def remove(self, names: Iterable[str]) -> None:
        """Remove videos by their paths."""
        for name in names:
            append_line(self.file, dump_json({"removed": name}))
            del self.videos[name]

    def compact(self) -> None:
        """Write the files again, without the numbers of removed videos, if there are any."""
        if self.windows == self.total:
            return
        old, arrays = self._files(), self.arrays()
        self.number += 1
        kept = sorted(self.videos.values(), key=lambda video: video.row)
        for (file, _), array in zip(self._files(), arrays, strict=True):
            with atomic_write(file) as opened:
                for video in kept:
                    for first in range(video.row, video.row + video.rows, BLOCK):
                        opened.write(array[first : min(first + BLOCK, video.row + video.rows)].tobytes())
        del arrays
        self.videos, self.total = {}, 0
        lines: list[Mapping[str, Any]] = [self._head()]
        for video in kept:
            lines.append({**asdict(video), "row": self.total})
            self._list(Video(**lines[-1]))
        with atomic_write(self.file) as opened:
            opened.write("".join(f"{dump_json(line)}\n" for line in lines).encode("utf-8", "surrogateescape"))
        for file, _ in old:
            file.unlink(missing_ok=True)

    def _head(self) -> Table:
        head = {"vidcore_index": FORMAT, "precision": self.precision, "channels": self.channels}
        return {**head, "number": self.number, "settings": self.settings}


def _largest(values: Array, top: int) -> Array:
    """Return the places of the largest values, largest first, and of equal ones the first."""
    if top < len(values):
        least = np.partition(values, len(values) - top)[len(values) - top]
        places = np.flatnonzero(values >= least)
    else:
        places = np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")][:top]


def _slice(values: Array, counts: Array, number: int) -> Array:
    stop = int(counts[: number + 1].sum())
    return values[stop - int(counts[number]) : stop]
