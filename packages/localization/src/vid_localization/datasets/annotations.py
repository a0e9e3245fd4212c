"""Annotated segments of many videos as flat arrays, validated when they are read."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from vid_localization.datasets.checks import SegmentPolicy, validate_segments
from vidcore.data.classes import check_file
from vidcore.data.fields import finite_number, positive_number
from vidcore.data.index import Ragged, StringTable, select_rows
from vidcore.data.text import read_json
from vidcore.errors import AnnotationError, DataError, nearest
from vidcore.typing import Array

__all__ = ["AMBIGUOUS", "Annotations", "Video", "read_annotations", "read_videos"]

NUMBERS = ("duration_second", "duration_frame", "feature_frame", "fps")
"""Numbers known of a video, in the order of ``Annotations.facts``."""
AMBIGUOUS = "Ambiguous"
"""Label of segments whose class is not clear (THUMOS'14); not a class unless it is listed as one."""


@frozen
class Video:
    """A video of an annotation file; nan for numbers that the file does not have."""

    name: str
    duration_second: float = math.nan
    duration_frame: float = math.nan
    feature_frame: float = math.nan
    """Number of frames, from the first, that the features of the video cover."""
    fps: float = math.nan
    subset: str | None = None
    segments: list[tuple[float, float]] = field(factory=list)
    """Start and end in seconds."""
    labels: list[str] = field(factory=list)
    proposals: list[float] = field(factory=list)
    """Start, end (fractions of what the features cover) and score of each proposal, one after the other."""


@frozen(eq=False)
class Annotations:
    """The content of an annotation file: n videos, m segments."""

    names: StringTable
    facts: Array
    """(n, 4) float64: ``NUMBERS``, nan if unknown."""
    segments: Array
    """(m, 2) float64: start and end in seconds, video after video."""
    labels: Array
    """(m,) int32: class numbers; -1 for ambiguous segments."""
    offsets: Array
    """(n + 1,) int64: the segments of video i are ``offsets[i]`` to ``offsets[i + 1]``."""
    class_names: tuple[str, ...]
    proposals: Ragged[np.float64]
    """n rows, see ``Video.proposals``."""
    problems: tuple[str, ...] = ()
    """Problems with segments: one ``file: video: segment: ...`` each."""

    def take(self, indices: int | Sequence[int]) -> Annotations:
        """Return the first n videos (n >= 0), the last -n (n < 0), or those listed."""
        rows = select_rows(indices, len(self.names))
        kept = Ragged(np.arange(len(self.labels)), self.offsets).take(rows)
        return evolve(
            self,
            names=self.names.take(rows),
            facts=self.facts[rows],
            segments=self.segments[kept.values],
            labels=self.labels[kept.values],
            offsets=kept.offsets,
            proposals=self.proposals.take(rows),
        )

    def validated(self, file: Path, policy: SegmentPolicy) -> Annotations:
        """Return the annotations with the segments that ``validate_segments`` keeps; ``file`` is for messages."""
        valid = validate_segments(
            file,
            policy,
            names=self.names,
            durations=self.facts[:, 0],
            offsets=self.offsets,
            segments=self.segments,
            labels=self.labels,
        )
        return evolve(
            self,
            segments=valid.segments,
            labels=self.labels[valid.indices],
            offsets=np.searchsorted(valid.indices, self.offsets),
            problems=valid.problems,
        )


def read_annotations(
    file: Path,
    class_names: tuple[str, ...] | None = None,
    subset: str | None = None,
    policy: SegmentPolicy = "repair",
    seconds: Callable[[str], float] = lambda name: math.nan,
) -> Annotations:
    """Read and validate an annotation file.

    Args:
        file: JSON or CSV, see ``ActivityNetDataset``.
        class_names: names by class number; default: all that occur, sorted.
        subset: use only the videos of this subset; default: all.
        policy: what happens to segments with a problem.
        seconds: returns the duration of a video that has none in the file, by name; nan if unknown.

    Raises:
        AnnotationError: an entry is not valid; the message starts with ``file: video``.
        DataError: the file does not exist or has no videos.
    """
    names, facts, times, labels, offsets = [], array("d"), array("d"), array("i"), array("q", [0])
    proposals: list[list[float]] = []
    numbers: dict[str, int] = {name: i for i, name in enumerate(class_names or ())}
    ambiguous = set() if AMBIGUOUS in numbers else {AMBIGUOUS}
    subsets: set[str] = set()
    for video in read_videos(file):
        subsets.add(str(video.subset))
        if subset is not None and video.subset != subset:
            continue
        if math.isnan(video.duration_second):
            video = evolve(video, duration_second=seconds(video.name))
        names.append(video.name)
        facts.extend(getattr(video, name) for name in NUMBERS)
        for number, (segment, label) in enumerate(zip(video.segments, video.labels, strict=True)):
            times.extend(segment)
            if label in ambiguous:
                labels.append(-1)
                continue
            if class_names is not None and label not in numbers:
                where = f"{file}: {video.name}: segment {number}"
                raise AnnotationError(
                    f"{where}: label {label!r} is not one of the {len(numbers)} classes{nearest(label, numbers)}"
                )
            labels.append(numbers.setdefault(label, len(numbers)))
        offsets.append(len(labels))
        if video.proposals and math.isnan(video.duration_second):
            raise AnnotationError(f"{file}: {video.name}: proposals are fractions of the duration, which is not known")
        proposals.append(video.proposals)
    if not names:
        hint = f" of subset {subset!r}; there are {', '.join(sorted(subsets))}" if subsets else ""
        raise DataError(f"annotation file {file} has no videos{hint}")
    found = np.array(labels, np.int32)
    if class_names is None:
        order = sorted(numbers)
        found = np.array([*map(order.index, numbers), -1], np.int32)[found]
        class_names = tuple(order)
    annotations = Annotations(
        StringTable.from_strings(names),
        np.array(facts).reshape(-1, len(NUMBERS)),
        np.array(times).reshape(-1, 2),
        found,
        np.array(offsets, np.int64),
        class_names,
        Ragged.from_rows(proposals, np.float64),
    )
    return annotations.validated(file, policy)


def read_videos(file: Path) -> Iterator[Video]:
    """Yield the videos of a JSON or CSV file, in the order of the file.

    Raises as ``read_annotations``.
    """
    if file.suffix.lower() == ".csv":
        check_file(file, "annotation file")
        yield from _from_table(file)
        return
    hint = "" if file.suffix.lower() == ".json" else ", and a table must be named .csv"
    content = read_json(file, "annotation file", hint)
    videos = content.get("database", content)
    if not isinstance(videos, dict):
        raise AnnotationError(f"{file}: must be a JSON object with videos by name, got {type(videos).__name__}")
    for name, entry in videos.items():
        if not name.strip():
            raise AnnotationError(f"{file}: a video needs a name")
        yield _video(f"{file}: {name}", name, entry)


def _video(where: str, name: str, entry: Any) -> Video:
    if not isinstance(entry, Mapping):
        raise AnnotationError(f"{where}: must be a JSON object with 'annotations', got {entry!r}")
    entry = {"duration_second": entry.get("duration"), **entry}  # its name in official files
    facts = {key: positive_number(f"{where}: {key}", entry[key]) for key in NUMBERS if entry.get(key) is not None}
    segments, labels = [], []
    if "annotations" not in entry and entry.get("subset") != "testing":
        raise AnnotationError(f"{where}: has no 'annotations'; use an empty list for a video without segments")
    listed = entry.get("annotations", [])
    if not isinstance(listed, Sequence) or isinstance(listed, str):
        raise AnnotationError(f"{where}: annotations must be a list, got {listed!r}")
    for number, annotation in enumerate(listed):
        place = f"{where}: segment {number}"
        segment = annotation.get("segment") if isinstance(annotation, Mapping) else None
        if not isinstance(segment, Sequence) or isinstance(segment, str) or len(segment) != 2:
            raise AnnotationError(f"{place}: needs 'segment' with start and end in seconds, got {annotation!r}")
        segments.append((finite_number(place, segment[0]), finite_number(place, segment[1])))
        label = annotation.get("label")
        if not isinstance(label, str) or not label.strip():
            raise AnnotationError(f"{place}: needs 'label' with the name of a class, got {annotation!r}")
        labels.append(label)
    proposals = _proposals(where, entry.get("proposals", []))
    return Video(name, subset=entry.get("subset"), segments=segments, labels=labels, proposals=proposals, **facts)


def _proposals(where: str, listed: Any) -> list[float]:
    numbers: list[float] = []
    for number, row in enumerate(listed if isinstance(listed, list) else [listed]):
        place = f"{where}: proposal {number}"
        if not isinstance(row, Sequence) or len(row) != 3:
            raise AnnotationError(f"{place}: must be start, end and score, got {row!r}")
        start, end, score = (finite_number(place, value) for value in row)
        if not 0 <= start <= end <= 1:
            raise AnnotationError(f"{place}: start and end must be fractions of the video, got {start:g} and {end:g}")
        numbers += start, end, score
    return numbers


def _from_table(file: Path) -> Iterator[Video]:
    """Read a row per segment, ``video,start,end,label``; a row without times is a video without segments."""
    videos: dict[str, Video] = {}
    with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as lines:
        table = csv.DictReader(lines, skipinitialspace=True, strict=True)
        try:
            _check_header(file, list(table.fieldnames or ()))
            for row in table:
                _add_row(videos, row, file, table.line_num)
        except csv.Error as error:
            line = table.line_num + 1  # line_num is the last line that was read
            raise AnnotationError(f"{file}:{line}: {error}: is a quotation mark not closed?") from None
    yield from videos.values()


def _check_header(file: Path, found: list[str]) -> None:
    missing = [c for c in ("video", "start", "end", "label") if c not in found]
    if missing:
        separated = len(found) == 1 and any(mark in found[0] for mark in ";\t")
        raise AnnotationError(
            f"{file}:1: the header must name video, start, end, label; {', '.join(missing)} is missing, "
            f"found {', '.join(found) or 'nothing'}{' (the separator must be a comma)' if separated else ''}"
        )


def _add_row(videos: dict[str, Video], row: dict[str, str], file: Path, line: int) -> None:
    """Add a row of a table to its video."""
    name = (row["video"] or "").strip()
    if not name or None in row:
        wrong = "too many fields" if name else "a video needs a name"
        raise AnnotationError(f"{file}:{line}: {wrong}")
    video = videos.setdefault(name, Video(name))
    where = f"{file}: {name}: segment {len(video.segments)} (line {line})"
    for column, fact in (("duration", "duration_second"), ("fps", "fps")):
        if row.get(column):
            number, known = positive_number(f"{where}: {column}", row[column]), getattr(video, fact)
            if not math.isnan(known) and number != known:
                raise AnnotationError(f"{where}: {column} is {number:g}, but {known:g} in an earlier row")
            changed: dict[str, Any] = {fact: number}
            video = evolve(video, **changed)
    videos[name] = video
    start, end, label = ((row[column] or "").strip() for column in ("start", "end", "label"))
    if not start and not end and not label:
        return
    if not label:
        raise AnnotationError(f"{where}: has no label")
    video.segments.append((finite_number(where, start), finite_number(where, end)))
    video.labels.append(label)
