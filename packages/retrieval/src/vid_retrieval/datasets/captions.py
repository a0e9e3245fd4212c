"""Videos and the texts that describe them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from attrs import frozen

from vid_retrieval.datasets.cleaning import clean_text
from vid_retrieval.datasets.reading import read_entries, take, texts_of, times_of, video_of
from vid_retrieval.records import Texts
from vidcore.data.index import StringTable, fingerprint, select_rows
from vidcore.errors import AnnotationError, DataError
from vidcore.protocols import Dataset
from vidcore.records import Cut
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["MSRVTTRetrieval", "VideoTextDataset"]

Per = Literal["text", "entry", "video"]


@frozen(eq=False)
class _Captions:
    """The content of a file in flat arrays: v videos, n samples, t texts."""

    videos: StringTable
    """v names."""
    cuts: Array
    """(v, 2) float64: start and end in seconds, NaN if the video is whole."""
    owners: Array
    """(n,) int64: the video of each sample."""
    texts: StringTable
    """t texts, sample by sample."""
    offsets: Array
    """(n + 1,) int64: texts of sample i are ``offsets[i]`` to ``offsets[i + 1]``."""
    silent: int
    """Number of videos that are left out since they have no text."""


class VideoTextDataset(Dataset):
    """Videos and texts that describe them, several per video if you like.

    The annotation file is a table (``.csv``, ``.tsv``) or has JSON lines (``.jsonl``)::

        video,text
        kitchen/001.mp4,a person opens a door
        kitchen/001.mp4,somebody comes in

        {"video": "kitchen/001.mp4", "text": ["a person opens a door", "somebody comes in"]}

    ``start`` and ``end``, in seconds, make a part of a video a video of its own. ``.json`` has a list of these objects,
    or ``{"kitchen/001.mp4": ["a person opens a door"]}``. ``caption`` is another name of ``text``.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        per: a sample is one ``text`` with its video, to train; a ``video`` with all of its texts, which is decoded only
            once, to evaluate; or an ``entry`` of the file.
        indices: use the first n samples (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    Raises ``AnnotationError``, which names the line or entry, for one that is not valid, ``DataError`` for a missing
    file, or one without texts.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        per: Per = "text",
        indices: int | Sequence[int] | None = None,
    ) -> None:
        self._load(ann_file, data_root, per, indices, lambda text: text)

    def _load(
        self,
        ann_file: Path,
        data_root: Path | None,
        per: Per,
        indices: int | Sequence[int] | None,
        change: Callable[[str], str],
    ) -> None:
        self.data_root = data_root
        self.captions = _read(ann_file, per, change)
        self.rows: Array = _selected(indices, len(self.captions.owners))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """Return sample ``index`` with path, ``cut`` if it is a part of a video, and ``extra["texts"]``."""
        index = range(len(self))[index]
        row, table = self.rows[index], self.captions
        first, stop = table.offsets[row : row + 2].tolist()
        video = int(table.owners[row])
        name = table.videos[video]
        start, end = table.cuts[video].tolist()
        whole = start != start
        texts = Texts(tuple(table.texts[first:stop]), np.arange(first, stop), video)
        return Sample(
            index=index,
            key=None if whole else f"{Path(name).stem}_{start:g}_{end:g}",
            path=self._path(name),
            cut=None if whole else Cut(start, end),
            extra={"texts": texts},
        )

    @property
    def num_videos(self) -> int:
        """Number of distinct videos, or parts of videos, in the file."""
        return len(self.captions.videos)

    @property
    def num_texts(self) -> int:
        """Number of texts in the file; equal ones count each time."""
        return len(self.captions.texts)

    def _path(self, name: str) -> str:
        return name if self.data_root is None else os.path.join(self.data_root, name)

    def sample_paths(self) -> Iterator[str]:
        """Return the path of every sample."""
        return (self._path(self.captions.videos[int(self.captions.owners[row])]) for row in self.rows)

    def fingerprint(self) -> str:
        """Return a hash of videos, their parts and texts: equal for two runs on the same data."""
        table = self.captions
        tables = (
            part for strings in (table.videos.rows, table.texts.rows) for part in (strings.values, strings.offsets)
        )
        return fingerprint(str(len(self)), *tables, table.cuts, table.owners, table.offsets, self.rows)

    def notes(self) -> list[str]:
        """Return the numbers of videos and texts, and of texts that do not tell their video from another one."""
        table = self.captions
        lines = [f"{self.num_texts} texts of {self.num_videos} videos"]
        owners = np.repeat(table.owners, np.diff(table.offsets))
        pairs = Counter(text for text, _ in set(zip(table.texts, owners.tolist(), strict=True)))
        if shared := sum(pairs[text] > 1 for text in table.texts):
            lines.append(f"{shared} texts describe several videos, each of which counts as right")
        if table.silent:
            lines.append(f"{table.silent} videos have no text and are left out")
        return lines


class MSRVTTRetrieval(VideoTextDataset):
    """Videos and captions in lists like VindLU's of MSR-VTT (arXiv:2212.05051): ``[{"video": ..., "caption": ...}]``.

    A sample is an entry of the list with its caption, or list of captions. They are in lower case and without
    punctuation. The formats of ``VideoTextDataset`` are read as well.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    Raises errors like ``VideoTextDataset``.
    """

    def __init__(
        self, ann_file: Path, data_root: Path | None = None, indices: int | Sequence[int] | None = None
    ) -> None:
        self._load(ann_file, data_root, "entry", indices, clean_text)


def _read(file: Path, per: Per, change: Callable[[str], str]) -> _Captions:
    numbers: dict[tuple[str, float | None, float | None], int] = {}
    owners: list[int] = []
    lists: list[list[str]] = []
    places: dict[int, int] = {}  # the sample of a video, if samples are videos
    silent: set[str] = set()
    for entry in read_entries(file):
        where, _ = entry
        name, texts = video_of(entry), take(entry, "text", "caption")
        start, end = times_of(entry)
        found = [_changed(where, text, change) for text in texts_of(where, texts)]
        if not found:
            silent.add(name)
            continue
        video = numbers.setdefault((name, None, None) if start != start else (name, start, end), len(numbers))
        if per == "video":
            place = places.setdefault(video, len(lists))
            if place < len(lists):
                lists[place] += found
                continue
        samples = [[text] for text in found] if per == "text" else [found]
        lists += samples
        owners += [video] * len(samples)
    if not lists:
        raise DataError(f"annotation file {file} has no texts")
    cuts = [(np.nan if a is None else a, np.nan if b is None else b) for _, a, b in numbers]
    return _Captions(
        StringTable.from_strings(name for name, _, _ in numbers),
        np.array(cuts, np.float64).reshape(-1, 2),
        np.array(owners, np.int64),
        StringTable.from_strings(text for texts in lists for text in texts),
        np.cumsum([0, *map(len, lists)]),
        len(silent - {name for name, _, _ in numbers}),
    )


def _changed(where: str, text: str, change: Callable[[str], str]) -> str:
    changed = change(text)
    if not changed:
        raise AnnotationError(f"{where}: nothing remains of the text {text!r} without punctuation")
    return changed


def _selected(indices: int | Sequence[int] | None, total: int) -> Array:
    return np.arange(total) if indices is None else select_rows(indices, total)
