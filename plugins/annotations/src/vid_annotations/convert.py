"""Annotations of a tool as the tables that Tasks read: boxes (CSV) and segments (JSON, as of ActivityNet)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from attrs import define, field

from vid_annotations.naming import Naming
from vid_annotations.places import Facts, Videos
from vid_annotations.source import Options, read_source
from vid_annotations.table import Annotations, Box
from vidcore.errors import DataError, some
from vidcore.files import write_csv, write_json

__all__ = [
    "HEADER",
    "BoxRow",
    "Converted",
    "SegmentRow",
    "convert",
    "read_annotations",
    "segments_of_boxes",
    "write_boxes",
    "write_segments",
]

HEADER = ("video", "time", "x1", "y1", "x2", "y2", "person", "action")
DIGITS, PIXEL_DIGITS = 6, 3
"""Decimals of times and fractions, and of pixels."""
Size = tuple[float, float]
"""Width and height."""
SAME_SHAPE = 0.05
"""By how much a file may be stretched against the one that was annotated; sizes are often rounded."""
SAME = 1.5
"""Number of usual distances between annotated moments from which nobody has looked at the time between them."""


class BoxRow(NamedTuple):
    """A person doing something at a moment; without a box: a key frame in which nobody is."""

    video: str
    time: float
    box: Box | None = None
    person: str = ""
    action: str = ""


class SegmentRow(NamedTuple):
    """An action from one time to another, in seconds."""

    video: str
    start: float
    end: float
    label: str


@define
class Converted:
    """Boxes and segments with times in seconds and names of actions."""

    boxes: list[BoxRow]
    """Sorted by video and time, each row once; pixels or, if ``relative``, fractions of the picture."""
    segments: list[SegmentRow]
    videos: dict[str, dict[str, float]]
    """By video, what is known: ``duration_second``, ``duration_frame`` and ``fps``."""
    relative: bool = False
    notes: list[str] = field(factory=list)

    @property
    def actions(self) -> list[str]:
        """Names of the actions, sorted."""
        return sorted({row.action for row in self.boxes if row.action} | {row.label for row in self.segments})


@define
class _Clock:
    """Times of one video."""

    video: str
    in_frames: bool
    fps: float | None
    facts: Facts | None
    behind: int = 0
    """Boxes behind the end."""

    def time(self, moment: float) -> float | None:
        """Seconds of a moment; None if it lies behind the end of the file."""
        facts = self.facts
        if not self.in_frames:
            return round(moment, DIGITS) if facts is None or moment <= facts.duration else None
        if facts is not None and moment >= facts.frames:
            return None
        if facts is not None and facts.times is not None:
            return round(facts.times[int(moment)], DIGITS)
        rate = facts.fps if facts is not None else self.fps
        if rate is None:
            raise DataError(
                f"{self.video}: annotations have numbers of frames, and times need a rate: give --videos, the folder "
                "of the videos, or --fps"
            )
        return round(moment / rate, DIGITS)


def read_annotations(
    source: Path,
    options: Options,
    tool: str | None = None,
    *,
    action_from: Sequence[str] = (),
    person_from: str = "track",
    every: float | None = None,
) -> Converted:
    """Read the files of a labelling tool as boxes and segments with times and names.

    Args:
        source: a file, or a folder or ZIP archive of files of one tool.
        options: what the files do not say.
        tool: the format, a key of ``READERS``; default: detected.
        action_from: what the action is: see ``Naming.of``.
        person_from: who a box is: see ``Naming.of``.
        every: keep one moment every N seconds; default: all.

    Raises:
        AnnotationError: an entry is not valid; the message has file, and line or path to the value.
        DataError: see ``read_source``, ``Naming.of`` and ``convert``.
    """
    found = read_source(source, options, tool)
    naming = Naming.of(found, action_from, person_from)
    result = convert(found, naming, options.videos, options.fps, every)
    result.notes.insert(0, f"{source} is {found.tool}; actions are {naming}")
    return result


def convert(
    found: Annotations, naming: Naming, videos: Videos, fps: float | None = None, every: float | None = None
) -> Converted:
    """Give annotations times in seconds, and names of actions and persons.

    Args:
        found: what a reader returns.
        naming: where actions and persons stand.
        videos: the videos; with a folder, only these are kept, and their names become paths below it.
        fps: frames per second, where no file tells them.
        every: keep one moment every N seconds, the nearest annotated one; default: all.

    Raises:
        DataError: times need a rate, none of the videos has a file, a person has two boxes at once, or boxes that
            should be pixels are fractions.
    """
    notes = list(found.notes)
    names = _names(found, videos, notes)
    clocks = {video: _Clock(video, found.in_frames, fps, videos.facts(video)) for video in names}
    if fps is not None and found.in_frames and not any(clock.facts is None for clock in clocks.values()):
        notes.append("--fps is not used: the files of all videos tell the times of their frames")
    lost = Counter(found.lost)
    scales = {} if found.relative else _scales(found, clocks, notes)
    boxes = _box_rows(found, naming, names, clocks, scales, lost)
    _check_unit(found, boxes)
    _check_persons(boxes)
    looked = {
        BoxRow(names[video], time)
        for video, clock in clocks.items()
        for moments in found.moments.get(video, ())
        for moment in moments
        if (time := clock.time(moment)) is not None
    }
    rows = _thinned(boxes | looked, every)
    busy = {row[:2] for row in rows if row.box}
    kept = [row for row in rows if row.box or row[:2] not in busy]
    segments = _segment_rows(found, naming, names, lost)
    alone = len({row[:3] for row in kept if row.box and not row.person})
    notes += _notes(found, clocks, lost, alone, sum(row.box is None for row in kept))
    if left_out := [f"{what} ({count:,})" for what, count in lost.items() if count]:
        notes.append(f"left out: {some(left_out, 20)}")
    return Converted(
        sorted(kept, key=lambda row: (*row[:2], row.box or (), row.person, row.action)),
        segments,
        {names[video]: _known(found, clock) for video, clock in clocks.items()},
        found.relative,
        notes,
    )


def _names(found: Annotations, videos: Videos, notes: list[str]) -> dict[str, str]:
    """Names of videos in the result, by those in the annotations; those without a file are left out."""
    all_videos = dict.fromkeys([*found.moments, *(s.video for s in found.shapes), *(s.video for s in found.spans)])
    if videos.folder is None:
        return {video: video for video in all_videos}
    paths = {video: videos.find(video) for video in all_videos}
    names = {video: path.relative_to(videos.folder).as_posix() for video, path in paths.items() if path is not None}
    if missing := [video for video in all_videos if video not in names]:
        if not names:
            raise DataError(f"{videos.folder}: has none of the {len(missing)} annotated videos: {some(missing)}")
        notes.append(f"left out, without a file below {videos.folder}: {some(missing)}")
    if len(set(names.values())) < len(names):
        twice = next(name for name, count in Counter(names.values()).items() if count > 1)
        raise DataError(
            f"{twice}: is the file of several names: {some([v for v, name in names.items() if name == twice])}"
        )
    return names


def _scales(found: Annotations, clocks: dict[str, _Clock], notes: list[str]) -> dict[tuple[str, Size], Size]:
    """Return, by video and size of the picture that boxes were drawn on, what makes them pixels of another file.

    Raises ``DataError`` if the file has pictures of another shape.
    """
    scales = {}
    for video, size in dict.fromkeys((shape.video, shape.size) for shape in found.shapes):
        facts = clocks[video].facts if video in clocks else None
        if facts is None or size is None or size == facts.size:
            continue
        drawn, shown = (f"{width:g} x {height:g}" for width, height in (size, facts.size))
        x, y = facts.size[0] / size[0], facts.size[1] / size[1]
        if abs(x / y - 1) > SAME_SHAPE:
            raise DataError(f"{video}: boxes were drawn on {drawn} pixels, and the file has {shown}: is it that video?")
        notes.append(f"{video}: boxes were drawn on {drawn} pixels, and are now those of the file, {shown}")
        scales[video, size] = x, y
    return scales


def _box_rows(
    found: Annotations,
    naming: Naming,
    names: dict[str, str],
    clocks: dict[str, _Clock],
    scales: dict[tuple[str, Size], Size],
    lost: Counter[str],
) -> set[BoxRow]:
    rows: set[BoxRow] = set()
    digits = DIGITS if found.relative else PIXEL_DIGITS
    for shape in found.shapes:
        if shape.video not in names:
            continue
        clock, actions = clocks[shape.video], naming.actions_of(shape.about)
        if actions is None:
            lost[f"boxes of {'+'.join(shape.about.labels) or 'something'!r} without {naming}"] += 1
        elif (time := clock.time(shape.moment)) is None:
            clock.behind += 1
        else:
            x, y = scales.get((shape.video, shape.size), (1.0, 1.0)) if shape.size else (1.0, 1.0)
            scaled = (side * factor for side, factor in zip(shape.box, (x, y, x, y), strict=True))
            left, top, right, bottom = (round(side, digits) for side in scaled)
            who = naming.person_of(shape.about, shape.track)
            box = (left, top, right, bottom)
            rows |= {BoxRow(names[shape.video], time, box, who, action) for action in actions or ("",)}
    acting = {row[:4] for row in rows if row.action}
    return {row for row in rows if row.action or row[:4] not in acting}


def _segment_rows(found: Annotations, naming: Naming, names: dict[str, str], lost: Counter[str]) -> list[SegmentRow]:
    rows = set()
    for span in found.spans:
        if span.video not in names:
            continue
        actions = naming.actions_of(span.about)
        if not actions or span.end <= span.start:
            lost["segments without an action" if span.end > span.start else "segments without length"] += 1
            continue
        start, end = round(span.start, DIGITS), round(span.end, DIGITS)
        rows |= {SegmentRow(names[span.video], start, end, action) for action in actions}
    return sorted(rows)


def _check_unit(found: Annotations, rows: Iterable[BoxRow]) -> None:
    largest = max((max(row.box) for row in rows if row.box), default=None)
    if largest is not None and not found.relative and largest <= 1:
        raise DataError(
            f"{found.tool}: boxes must be pixels, and all of them lie between 0 and 1, like fractions: multiply x by "
            "the width and y by the height of the picture"
        )


def _check_persons(rows: Iterable[BoxRow]) -> None:
    seen: dict[tuple[str, float, str], Box | None] = {}
    for row in sorted(rows):
        if row.person and seen.setdefault((row.video, row.time, row.person), row.box) != row.box:
            raise DataError(
                f"{row.video}: person {row.person!r} has two boxes at {row.time:g} s; if it is not a person, give "
                "--person-from none, or attribute:NAME"
            )


def _thinned(rows: set[BoxRow], every: float | None) -> set[BoxRow]:
    """Rows of the moments nearest to multiples of ``every`` seconds, at most half of it away."""
    if every is None:
        return rows
    times: dict[str, set[float]] = {}
    for row in rows:
        times.setdefault(row.video, set()).add(row.time)
    kept = set()
    for video, moments in times.items():
        nearest: dict[int, float] = {}
        for time in sorted(moments):
            number = round(time / every)
            if abs(time - number * every) < abs(nearest.get(number, -every) - number * every):
                nearest[number] = time
        kept |= {(video, time) for time in nearest.values()}
    return {row for row in rows if row[:2] in kept}


def _notes(found: Annotations, clocks: dict[str, _Clock], lost: Counter[str], alone: int, empty: int) -> list[str]:
    counts = {
        "boxes along tracks that the file does not have": (
            found.interpolated,
            " (between two others, or until an end)",
        ),
        "tracks without an end": (found.open_tracks, " (no box after their last one)"),
        "boxes without a person": (alone, " (each is alone; equal ones at the same time are one person)"),
        "key frames without a box": (empty, " (rows with video and time only: nobody is there)"),
    }
    notes = [f"{what}: {count:,}{meaning}" for what, (count, meaning) in counts.items() if count]
    for clock in clocks.values():
        facts = clock.facts
        if facts is None:
            continue
        if clock.behind:
            lost[f"boxes behind the end of {clock.video}, which has {facts.frames:,} frames, {facts.duration:g} s"] += (
                clock.behind
            )
        counted = found.frame_counts.get(clock.video, facts.frames)
        if counted != facts.frames:
            notes.append(
                f"{clock.video}: {found.tool} counts {counted:,} frames, the file has {facts.frames:,}; times are "
                f"those of {found.tool}"
            )
    return notes


def _known(found: Annotations, clock: _Clock) -> dict[str, float]:
    if clock.facts is not None:
        facts = clock.facts
        return {"duration_second": round(facts.duration, DIGITS), "duration_frame": facts.frames, "fps": facts.fps}
    duration = found.durations.get(clock.video)
    return {} if duration is None else {"duration_second": duration}


def segments_of_boxes(rows: Iterable[BoxRow]) -> list[SegmentRow]:
    """Return when anybody does each action: from the first to the moment after the last of the moments in a row.

    Moments in a row are those that were annotated one after the other.
    """
    acting: dict[str, dict[float, set[str]]] = {}
    for row in rows:
        acting.setdefault(row.video, {}).setdefault(row.time, set()).add(row.action)
    found = []
    for video, moments in acting.items():
        times = sorted(moments)
        steps = [after - before for before, after in pairwise(times)]
        step = median(steps) if steps else 0.0
        open_since: dict[str, float] = {}
        for time, following in zip(times, [*times[1:], float("inf")], strict=True):
            for action in moments[time] - {""}:
                open_since.setdefault(action, time)
            gap = following - time > SAME * step
            for action in [a for a in open_since if gap or a not in moments[following]]:
                end = round(min(following, time + step), DIGITS)
                if end > (start := open_since.pop(action)):
                    found.append(SegmentRow(video, start, end, action))
    return sorted(found)


def write_boxes(path: Path, rows: Iterable[BoxRow]) -> None:
    """Write boxes as CSV with the columns ``HEADER``; key frames in which nobody is have a video and a time only."""
    blank = ("",) * 4
    lines = ((r.video, _number(r.time), *(map(_number, r.box) if r.box else blank), r.person, r.action) for r in rows)
    write_csv(path, [HEADER, *lines])


def write_segments(path: Path, rows: Iterable[SegmentRow], videos: dict[str, dict[str, float]]) -> None:
    """Write segments as JSON: by video its facts and ``annotations``, each with ``segment`` and ``label``."""
    listed: dict[str, list[object]] = {video: [] for video in videos}
    for row in rows:
        listed[row.video].append({"segment": [row.start, row.end], "label": row.label})
    write_json(path, {video: {**facts, "annotations": listed[video]} for video, facts in videos.items()})


def _number(value: float) -> str:
    return f"{value:.{DIGITS}f}".rstrip("0").rstrip(".")
