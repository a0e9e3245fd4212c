"""AVA's tables of boxes: truth, predictions, and excluded key frames.

A row has the video, the second, ``x1, y1, x2, y2`` as fractions of the frame, and the number of the action, from 1. In
truth the number of the person follows, in predictions the score. A row with only a video and a second is a key frame
without actions. Kinetics clips have seven columns, without person. There is no header.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from attrs import frozen

from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError
from vidcore.files import write_csv
from vidcore.typing import Array

__all__ = ["AVATable", "frame_key", "read_excluded", "read_table", "split_key", "write_table"]

Key = tuple[str, float]
"""Video and second of a key frame."""


def frame_key(video: str, second: float) -> str:
    """Return the name of a key frame in proposal files: ``video,0902``; fractions keep their digits.

    >>> frame_key("a", 902), frame_key("a,b", 12.5)
    ('a,0902', 'a,b,0012.5')
    """
    whole, point, rest = f"{second:.6f}".rstrip("0").rstrip(".").partition(".")
    return f"{video},{whole:0>4}{point}{rest}"


def split_key(key: str) -> Key:
    """Return video and second of a name. Raises ``ValueError`` if it is not ``video,second``."""
    video, comma, second = key.rpartition(",")
    if not comma or not video:
        raise ValueError(key)
    return video, round(float(second), 6)


@frozen(eq=False)
class AVATable:
    """The rows of a table, in its order."""

    keys: tuple[Key, ...]
    """Key frames, in order of their first row."""
    frames: Array
    """(n,) int64 index of the key frame of each box."""
    boxes: Array
    """(n, 4) float64 fractions."""
    actions: Array
    """(n,) int64 numbers from 1."""
    last: Array
    """(n,) float64: the score of predictions, the number of the person in truth; -1 where the column is missing."""
    lines: Array
    """(n,) int64 line of each box in the file."""


def read_table(file: Path, last: Literal["person", "score"] = "person") -> AVATable:
    """Read a table of boxes.

    Args:
        file: CSV without header.
        last: what the eighth column holds. A prediction needs it; a person may be missing.

    Boxes may be empty or outside of the picture (``vid_detection.datasets.checks``), but not in pixels.

    Raises ``AnnotationError`` with the line if a row is not as described.
    """
    keys: dict[Key, int] = {}
    frames: list[int] = []
    values: list[Sequence[str]] = []
    lines: list[int] = []
    for line, row in _rows(file):
        if len(row) not in (2, 7, 8) or (len(row) == 7 and last == "score"):
            wanted = "8 columns, the last the score" if last == "score" else "7 or 8 columns (no header)"
            raise AnnotationError(
                f"{file}:{line}: needs {wanted}, or 2 for a key frame without actions, got {len(row)}"
            )
        frame = keys.setdefault((row[0], _second(file, line, row[1])), len(keys))
        if len(row) > 2 and any(row[2:7]):
            frames.append(frame)
            values.append(row[2:] if len(row) == 8 and row[7] else [*row[2:7], "-1"])
            lines.append(line)
    try:
        numbers = np.array(values, np.float64).reshape(-1, 6)
    except ValueError:
        line, column = _not_a_number(values)
        raise AnnotationError(
            f"{file}:{lines[line]}: column {column + 3} must be a number, got {values[line][column]!r}"
        ) from None
    table = AVATable(
        tuple(keys),
        np.array(frames, np.int64),
        numbers[:, :4],
        np.nan_to_num(numbers[:, 4], nan=-1).astype(np.int64),
        numbers[:, 5],
        np.array(lines, np.int64),
    )
    _check(file, table, numbers[:, 4], last)
    return table


def _rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    for line, row in enumerate(csv.reader(read_text(file).splitlines()), 1):
        if row:
            yield line, [cell.strip() for cell in row]


def _second(file: Path, line: int, text: str) -> float:
    try:
        second = float(text)
    except ValueError:
        second = math.nan
    if not 0 <= second < 1e7:
        raise AnnotationError(f"{file}:{line}: column 2 must be a second of the video (0902), got {text!r}")
    return round(second, 6)


def _not_a_number(values: Sequence[Sequence[str]]) -> tuple[int, int]:
    for line, row in enumerate(values):
        for column, text in enumerate(row):
            try:
                float(text)
            except ValueError:
                return line, column
    raise AssertionError("numpy refuses what float() takes")


def _check(file: Path, table: AVATable, actions: Array, last: str) -> None:
    pixels = np.abs(np.nan_to_num(table.boxes)).max(1, initial=0) > 2
    problems: tuple[tuple[Any, str], ...] = (
        (
            pixels,
            "coordinates must be fractions of the picture; pixels need their own format, a CSV file with the header "
            "video,time,x1,y1,x2,y2,person,action",
        ),
        (~((actions >= 1) & (actions == table.actions)), "the action must be a whole number from 1"),
        (~np.isfinite(table.last), f"the {last} is not finite"),
    )
    for mask, problem in problems:
        if mask.any():
            i = int(np.argmax(mask))
            box = ", ".join(f"{v:g}" for v in table.boxes[i])
            raise AnnotationError(
                f"{file}:{table.lines[i]}: {problem}; got box {box}, action {actions[i]:g} "
                f"({np.count_nonzero(mask)} of {len(mask)} rows)"
            )


def read_excluded(file: Path) -> frozenset[Key]:
    """Return the key frames of a file with a video and a second per line."""
    found = set()
    for line, row in _rows(file):
        if len(row) != 2:
            raise AnnotationError(f"{file}:{line}: needs 2 columns, video and second, got {len(row)}")
        found.add((row[0], _second(file, line, row[1])))
    if not found and file.stat().st_size:
        raise DataError(f"{file} lists no key frames")
    return frozenset(found)


def write_table(file: Path, rows: Iterable[tuple[Key, Sequence[float], int, float]], digits: int = 4) -> None:
    """Write predictions: key frame, box as fractions, number of the action from 1, and score.

    Args:
        file: to write.
        rows: as described.
        digits: of boxes and scores after the point.
    """
    write_csv(
        file,
        (
            (video, f"{second:g}", *(f"{value:.{digits}f}" for value in box), action, f"{score:.{digits}f}")
            for (video, second), box, action, score in rows
        ),
    )
