"""Charades-STA: sentences and the segments that they describe (Gao et al. 2017, arXiv:1705.02101)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from vid_localization.datasets.checks import SegmentPolicy, problem_notes, validate_segments
from vid_localization.datasets.words import read_words, split_words
from vid_localization.records import NUM_PROPOSALS, PartBounds, proposal_bounds
from vidcore.data.fields import positive_number
from vidcore.data.index import Ragged, StringTable, fingerprint, select_rows
from vidcore.data.text import read_json, read_text
from vidcore.errors import AnnotationError, DataError, nearest
from vidcore.protocols import Dataset
from vidcore.records import Segments, Text
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["CharadesSTADataset"]


@frozen
class _Query:
    video: str
    sentence: str
    words: list[int]
    start: float
    end: float


class CharadesSTADataset(Dataset):
    """Sentences, each of which describes a segment of a video.

    Args:
        ann_file: lines ``video start end##sentence.``
        word2id_file: JSON from words to their numbers.
        fps_file: JSON from videos to frames per second.
        duration_file: JSON from videos to seconds.
        num_frames_file: JSON from videos to numbers of frames.
        window_size: number of frames that a feature describes.
        ft_overlap: fraction of these frames that neighbouring features share.
        data_root: folder of the feature files, which are named after the videos.
        suffix: suffix of these files.
        bad_segments: see ``ActivityNetDataset``; ``repair`` drops sentences without a valid segment.
        indices: use the first n sentences (n >= 0), the last -n (n < 0), or those listed.

    Raises:
        AnnotationError: a line is not valid, or names a video or word that the tables do not have.
        DataError: a file does not exist, or there are no sentences.
    """

    def __init__(
        self,
        ann_file: Path,
        word2id_file: Path,
        fps_file: Path,
        duration_file: Path,
        num_frames_file: Path,
        window_size: int,
        ft_overlap: float,
        data_root: Path | None = None,
        suffix: str = ".pt",
        bad_segments: SegmentPolicy = "repair",
        indices: int | Sequence[int] | None = None,
    ) -> None:
        if window_size < 1 or not 0 <= ft_overlap < 1:
            raise DataError(
                f"window_size must be at least 1 and ft_overlap in [0, 1), got {window_size} and {ft_overlap}"
            )
        self.window_size, self.ft_overlap = window_size, ft_overlap
        self.data_root, self.suffix = data_root, suffix
        tables = [(file, read_json(file, "table")) for file in (fps_file, duration_file, num_frames_file)]
        needed = {"duration": tables[1][1], "number of frames": tables[2][1]}
        queries = list(_queries(ann_file, read_words(word2id_file), needed))
        if not queries:
            raise DataError(f"annotation file {ann_file} has no sentences")
        facts = np.array([[_fact(file, q.video, table) for file, table in tables] for q in queries])
        names = [f"{q.video}: {q.sentence!r}" for q in queries]
        valid = validate_segments(
            ann_file,
            bad_segments,
            names=names,
            durations=facts[:, 1],
            offsets=np.arange(len(queries) + 1),
            segments=np.array([(q.start, q.end) for q in queries]),
            labels=np.zeros(len(queries)),
        )
        rows = slice(None) if indices is None else select_rows(indices, len(valid.indices))
        kept = valid.indices[rows]
        self.problems = valid.problems
        self.segments: Array = valid.segments[rows]
        self.facts: Array = facts[kept]
        self.videos = StringTable.from_strings(queries[i].video for i in kept)
        self.sentences = StringTable.from_strings(queries[i].sentence for i in kept)
        self.words = Ragged.from_rows((queries[i].words for i in kept), np.int64)

    def sample_paths(self) -> Iterator[str]:
        """Return the file of every sentence; sentences of one video share a file."""
        return map(self._path, self.videos)

    def fingerprint(self) -> str:
        """Return a hash of videos, sentences and segments, to detect whether two runs saw the same data."""
        videos, sentences = self.videos.rows, self.sentences.rows
        parts = (videos.values, videos.offsets, sentences.values, sentences.offsets, self.words.values)
        return fingerprint(str(len(self)), *parts, self.segments)

    def notes(self) -> list[str]:
        """Return a line about ``problems``."""
        return problem_notes(self.problems)

    def _path(self, video: str) -> str:
        file = video + self.suffix
        return file if self.data_root is None else os.path.join(self.data_root, file)

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> Sample:
        """Return sentence ``index``: path, ``text`` with tokens, one segment, and 32 equal parts as ``proposals``.

        ``extra["parts"]`` are the features of each part.
        """
        index = range(len(self))[index]
        video = self.videos[index]
        fps, duration, frames = self.facts[index]
        bounds = proposal_bounds(int(frames), NUM_PROPOSALS)
        stride = self.window_size * (1 - self.ft_overlap)
        return Sample(
            index=index,
            key=video,
            path=self._path(video),
            duration=float(duration),
            total_frames=int(frames),
            fps=None if math.isnan(fps) else float(fps),
            segments=Segments(self.segments[index : index + 1]),
            proposals=Segments(bounds / frames * duration),
            text=Text((self.sentences[index],), self.words[index]),
            extra={"parts": PartBounds((bounds / stride).astype(np.int32))},
        )


def _fact(file: Path, video: str, table: Mapping[str, Any]) -> float:
    """The number of a video in a table; nan if there is none, which only frame rates may be."""
    return positive_number(f"{file}: {video}", table[video]) if video in table else math.nan


def _queries(file: Path, words: Mapping[str, int], needed: Mapping[str, Mapping[str, Any]]) -> Iterator[_Query]:
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        head, mark, sentence = line.partition("##")
        try:
            video, start, end = head.split()
            times = float(start), float(end)
        except ValueError:
            mark = ""
        if not mark or not all(map(math.isfinite, times)):
            raise AnnotationError(f"{file}:{number}: must be 'video start end##sentence', got {line.strip()!r}")
        for what, table in needed.items():
            if video not in table:
                raise AnnotationError(f"{file}:{number}: the {what} of {video!r} is not known{nearest(video, table)}")
        sentence = sentence.strip()
        tokens = split_words(sentence)
        if not tokens:
            raise AnnotationError(f"{file}:{number}: the sentence is empty")
        unknown = next((w for w in tokens if w not in words), None)
        if unknown is not None:
            raise AnnotationError(f"{file}:{number}: the table of words has no {unknown!r}{nearest(unknown, words)}")
        yield _Query(video, sentence, [words[w] for w in tokens], *times)
