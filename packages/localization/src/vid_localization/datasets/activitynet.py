"""Untrimmed videos with labelled segments: ActivityNet, THUMOS'14, HACS Segments, and your own videos."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from vid_localization.datasets.annotations import Annotations, read_annotations
from vid_localization.datasets.checks import SegmentPolicy, problem_notes
from vid_localization.names import result_name
from vidcore.data.classes import read_classes
from vidcore.data.index import Ragged, fingerprint
from vidcore.errors import AnnotationError, DataError
from vidcore.features.files import SUFFIXES, FeatureInfo
from vidcore.protocols import Dataset
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["ActivityNetDataset"]


class ActivityNetDataset(Dataset):
    """Videos with segments in seconds. Samples have no frames or features yet.

    The annotation file is JSON::

        {"v_1": {"duration_second": 211.53, "duration_frame": 6337, "feature_frame": 6336, "fps": 30.0,
                 "annotations": [{"segment": [30.03, 205.23], "label": "Rock climbing"}]}}

    where all but ``annotations`` may be missing (``vidcore features`` stores durations beside the features), or an
    official file with ``database`` and ``duration``, or a CSV table with a row per segment (columns ``duration`` and
    ``fps`` may be added)::

        video,start,end,label
        v_1,30.03,205.23,Rock climbing

    Segments labelled ``Ambiguous`` belong to no class, but predictions that touch them do not count as wrong
    (THUMOS'14), unless ``classes`` has that name. A video of the JSON file may have ``proposals`` of another network:
    start, end (fractions of what the features cover) and score of each.

    Args:
        ann_file: the annotations.
        data_root: folder of the feature files (or videos), which are named after the videos.
        suffix: suffix of these files; names of feature files have no folders.
        classes: class names by number, or a file with one name per line; default: all names that occur, sorted.
        subset: use only the videos of this subset (``training``); default: all.
        bad_segments: ``repair`` clips segments that reach beyond the video, and drops those without length, outside
            of the video, or repeated; ``keep`` changes nothing, as published scores require; ``raise`` refuses the
            file. ``problems`` lists them in any case.
        indices: use the first n videos (n >= 0), the last -n (n < 0), or those listed.

    Raises:
        AnnotationError: an entry is not valid; the message starts with ``file: video: segment``.
        DataError: the file does not exist or has no videos.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        suffix: str = ".csv",
        classes: Path | list[str] | None = None,
        subset: str | None = None,
        bad_segments: SegmentPolicy = "repair",
        indices: int | Sequence[int] | None = None,
    ) -> None:
        if bad_segments not in ("repair", "keep", "raise"):
            raise DataError(f"bad_segments must be repair, keep or raise, got {bad_segments!r}")
        self.data_root = data_root
        self.suffix = suffix
        annotations = read_annotations(ann_file, read_classes(classes), subset, bad_segments, self._measured)
        _check_names(ann_file, annotations.names)
        self._use(annotations if indices is None else annotations.take(indices))

    def _use(self, annotations: Annotations) -> None:
        self.annotations = annotations
        self.class_names = annotations.class_names
        self.num_classes = len(annotations.class_names)

    @property
    def problems(self) -> tuple[str, ...]:
        """Problems with segments of the file: one ``file: video: segment: ...`` each."""
        return self.annotations.problems

    @cached_property
    def labels(self) -> Ragged[np.int32]:
        """The classes of each video's segments, without repetitions."""
        table = Ragged(self.annotations.labels, self.annotations.offsets)
        rows = (np.unique(table[i]) for i in range(len(table)))
        return Ragged.from_rows((row[row >= 0].tolist() for row in rows), np.int32)

    def sample_paths(self) -> Iterator[str]:
        """Return the files of all videos."""
        return map(self._path, self.annotations.names)

    def notes(self) -> list[str]:
        """Return a line about ``problems``, and one about videos without a file."""
        paths = list(self.sample_paths())
        missing = [path for path in paths if not os.path.exists(path)]
        found = problem_notes(self.problems)
        if not len(self.annotations.segments):
            found.append("no video has a segment: there is nothing to learn or to score")
        if 0 < len(missing) < len(paths):  # if all are missing, they are not needed or an error follows
            found.append(f"{len(missing)} of {len(paths)} videos have no file, for example {missing[0]}")
        return found

    def __len__(self) -> int:
        return len(self.annotations.names)

    def __getitem__(self, index: int) -> Sample:
        """Return video ``index`` with path, durations, and ``segments`` with classes.

        ``key`` is the name in the annotation file, without folders and suffix if it is a video file.
        ``feature_duration`` follows from ``feature_frame``. ``proposals``, with scores, and ``extra["ambiguous"]`` are
        set for videos that have them.
        """
        index = range(len(self))[index]
        known = self.annotations
        name = known.names[index]
        seconds, frames, covered, fps = (None if math.isnan(v) else float(v) for v in known.facts[index])
        rows = slice(known.offsets[index], known.offsets[index + 1])
        segments, labels = known.segments[rows], known.labels[rows].astype(np.int64)
        ambiguous = segments[labels < 0]
        feature_seconds = covered / frames * seconds if covered and frames and seconds else None
        return Sample(
            index=index,
            key=_file_stem(name),
            path=self._path(name),
            duration=seconds,
            feature_duration=feature_seconds,
            total_frames=None if frames is None else round(frames),
            fps=fps,
            segments=Segments(segments[labels >= 0], labels[labels >= 0]),
            proposals=self._proposals(index, seconds if feature_seconds is None else feature_seconds),
            extra={"ambiguous": Segments(ambiguous)} if len(ambiguous) else {},
            class_names=known.class_names,
        )

    def _proposals(self, index: int, seconds: float | None) -> Segments | None:
        rows = self.annotations.proposals[index].reshape(-1, 3)
        if not len(rows) or seconds is None:
            return None
        return Segments(rows[:, :2] * seconds, scores=rows[:, 2])

    def _path(self, name: str) -> str:
        file = name
        if self.suffix:  # features are all in one folder, videos may be in subfolders
            file = (_file_stem(name) if self.suffix in SUFFIXES else _without_suffix(name)) + self.suffix
        return file if self.data_root is None else os.path.join(self.data_root, file)

    def _measured(self, name: str) -> float:
        """Duration of a video in seconds, as stored beside its features; nan if it is not known."""
        info = FeatureInfo.read(Path(self._path(name)))
        return math.nan if info is None or info.duration is None else info.duration

    def fingerprint(self) -> str:
        """Return a hash of names, segments and classes, to detect whether two runs saw the same data."""
        known = self.annotations
        names = known.names.rows
        head = repr((len(self), known.class_names))
        return fingerprint(head, names.values, names.offsets, known.segments, known.labels, known.offsets)


def _without_suffix(name: str) -> str:
    stem, suffix = os.path.splitext(name)
    return stem if suffix.lower() in VIDEO_SUFFIXES else name


def _file_stem(name: str) -> str:
    """Name of files made from a video: the name of the video, without folders and suffix if it is a video file."""
    stem = _without_suffix(name)
    return name if stem == name else os.path.basename(stem)


def _check_names(file: Path, names: Iterable[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(result_name(_file_stem(name)), name)
        if other != name:
            raise AnnotationError(f"{file}: {name}: {other} has the same name, by which files made of both are named")
