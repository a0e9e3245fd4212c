"""Raw skeletons of NTU RGB+D: text files of the Kinect, one for each video.

A file counts its frames; a frame its bodies; a body has a line about it, the number of its joints, and a line for each
joint. Bodies can be tables and seats, and a person can change the number; the rule which bodies are kept is

1. If there is more than one, those seen in 11 frames or fewer are dropped, unless none would be left.
2. Then those that are wider than 0.8 of their height in 69.754 % of their frames or more (things, not people), unless
   none would be left.
3. The others, by falling motion (the sum of the variances of x, y and z), fill two places; a body goes to the first
   place that is free in all of its frames, and is dropped if there is none.

Frames keep their numbers: a frame without a body has missing joints. A joint at the origin, or with NaN, is missing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
from attrs import field, frozen

from vid_skeleton.files import Track
from vidcore.errors import AnnotationError
from vidcore.typing import Array

__all__ = ["Name", "Parsed", "parse_ntu", "read_missing", "splits_of"]

JOINTS, PLACES, SHORT, WIDE, WIDE_FRAMES = 25, 2, 11, 0.8, 0.69754
BODIES, FRAMES = 20, 100_000
"""Most bodies in a frame, and frames in a file, that are believed."""
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")
TRAIN_60 = {1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38}
"""Performers of cross-subject training of the first set."""
# fmt: off
TRAIN_120 = TRAIN_60 | {
    45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94, 95,
    97, 98, 100, 103,
}
"""And of both sets together."""
# fmt: on


@frozen
class Name:
    """What the name of a file says: ``S001C002P003R002A013``."""

    setup: int
    camera: int
    performer: int
    replication: int
    action: int
    """From 1."""

    @classmethod
    def parse(cls, name: str) -> Name | None:
        """Return the parts of a name; None if it is not one."""
        found = NAME.fullmatch(name)
        return None if found is None else cls(*map(int, found.groups()))


def splits_of(name: Name, dataset: str) -> tuple[str, ...]:
    """Return the splits that a video belongs to: of ``ntu60`` or ``ntu120``."""
    train = TRAIN_60 if dataset == "ntu60" else TRAIN_120
    subject = f"xsub_{'train' if name.performer in train else 'val'}"
    if dataset == "ntu60":
        return subject, f"xview_{'train' if name.camera in (2, 3) else 'val'}"
    return subject, f"xset_{'val' if name.setup % 2 else 'train'}"


def read_missing(file: Path) -> set[str]:
    """Return the names in a list of videos whose skeletons are missing; lines of prose are skipped."""
    return {found[0] for found in NAME.finditer(file.read_text(encoding="utf-8", errors="replace"))}


@frozen(eq=False)
class Parsed:
    """The people of a file."""

    frames: int
    tracks: list[Track]
    """At most two; x, y, z in metres; NaN where a person is not seen."""
    dropped: Mapping[str, int] = field(factory=Counter)
    """Number of bodies that each rule dropped: ``short``, ``wide``, ``third``."""


def parse_ntu(file: Path) -> Parsed:
    """Read a ``.skeleton`` file.

    Raises ``AnnotationError``, which names file and line, if it is damaged.
    """
    try:
        text = file.read_text(encoding="ascii")
    except (OSError, UnicodeError) as error:
        raise AnnotationError(f"{file}: cannot be read: {error}") from None
    frames, bodies = _bodies(file, text)
    dropped: Counter[str] = Counter()
    if len(bodies) > 1:
        for rule, drops in (("short", lambda joints: len(joints) <= SHORT), ("wide", _is_thing)):
            kept = {number: rows for number, rows in bodies.items() if not drops(np.stack(list(rows.values())))}
            if kept:
                dropped[rule], bodies = len(bodies) - len(kept), kept
    places: list[dict[int, Array]] = [{} for _ in range(PLACES)]
    for rows in sorted(bodies.values(), key=_motion, reverse=True):
        place = next((place for place in places if not place.keys() & rows.keys()), None)
        if place is None:
            dropped["third"] += 1
        else:
            place.update(rows)
    return Parsed(frames, [_track(place) for place in places if place], dropped)


def _bodies(file: Path, text: str) -> tuple[int, dict[int, dict[int, Array]]]:
    """Return the number of frames, and of each body the joints (25, 3) by frame."""
    lines = enumerate(text.split("\n"), 1)

    def number(what: str, most: int) -> int:
        line, value = next(lines, (0, ""))
        if not re.fullmatch(r"\s*[0-9]{1,9}\s*", value) or int(value) > most:
            raise AnnotationError(f"{file}:{line}: expected the number of {what}, up to {most:,}, found {value[:40]!r}")
        return int(value)

    frames = number("frames", FRAMES)
    bodies: dict[int, dict[int, Array]] = {}
    for frame in range(frames):
        for _ in range(number("bodies", BODIES)):
            line, about = next(lines, (0, ""))
            first = about.partition(" ")[0]
            if not first.isdigit() or len(first) > 30:
                raise AnnotationError(f"{file}:{line}: expected the number of a body, found {about[:40]!r}")
            if number("joints", JOINTS) != JOINTS:
                raise AnnotationError(f"{file}:{line + 1}: a body has {JOINTS} joints")
            joints = np.array(list(_joints(file, list(islice(lines, JOINTS)))), np.float32)
            if len(joints) != JOINTS:
                raise AnnotationError(f"{file}: ends in the middle of frame {frame} of {frames}")
            joints[(joints == 0).all(1) | ~np.isfinite(joints).all(1)] = np.nan
            if not np.isnan(joints).all():
                bodies.setdefault(int(first), {})[frame] = joints
    return frames, bodies


def _joints(file: Path, rows: list[tuple[int, str]]) -> Iterator[list[float]]:
    for line, row in rows:
        try:
            x, y, z = map(float, row.split()[:3])
        except ValueError:
            raise AnnotationError(f"{file}:{line}: expected x, y, z of a joint, found {row[:40]!r}") from None
        yield [x, y, z]


def _is_thing(joints: Array) -> bool:
    """Return whether a body (frames, 25, 3) is too wide for a person."""
    width, height, _ = (np.nanmax(joints, 1) - np.nanmin(joints, 1)).T
    return bool((width > WIDE * height).mean() >= WIDE_FRAMES)


def _motion(rows: Mapping[int, Array]) -> float:
    return float(np.nanvar(np.stack(list(rows.values())), (0, 1)).sum())


def _track(place: Mapping[int, Array]) -> Track:
    first, last = min(place), max(place)
    points = np.full((last - first + 1, JOINTS, 3), np.nan, np.float32)
    for frame, joints in place.items():
        points[frame - first] = joints
    return Track(first, points)
