"""Boxes of persons that a detector found in key frames: files of proposals."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vid_detection.ava import Key, frame_key, split_key
from vidcore.data.classes import check_file
from vidcore.data.text import read_json, read_text
from vidcore.errors import AnnotationError, DataError, some
from vidcore.pickles import UnsafeError, read_pickle
from vidcore.typing import Array

__all__ = ["Proposals", "choose", "read_proposals"]

EXAMPLE = '"1j20qq1JyX4,0902": [[0.036, 0.098, 0.55, 0.979, 0.995]]'
SLACK = 1e-3
"""Detectors write corners that are so much outside of the picture."""
Proposals = Mapping[Key, Array]
"""(n, 5) float32 of each key frame: x1, y1, x2, y2 as fractions of the picture, and score, nan if it has none."""


def read_proposals(file: Path) -> Proposals:
    """Read proposals: a pickle or JSON of ``{"video,0902": rows}``, or a table.

    Rows are ``x1, y1, x2, y2``, or with a score. A table has AVA's columns without header (video, second, box, an
    action that is ignored, score), or a header with ``video,time,x1,y1,x2,y2`` and perhaps ``score``. No code in a
    pickle is run.

    Raises ``AnnotationError``, which names the key frame, if an entry is not as described.
    """
    check_file(file, "file of proposals")
    suffix = file.suffix.lower()
    if suffix == ".csv":
        return _of_table(file)
    content: Any = read_json(file, "file of proposals") if suffix == ".json" else _pickled(file)
    if not isinstance(content, Mapping):
        raise AnnotationError(f"{file}: must hold boxes by key frame, such as {EXAMPLE}, got {type(content).__name__}")
    return dict(_entries(file, content))


def _pickled(file: Path) -> Any:
    try:
        return read_pickle(file, "latin1")
    except UnsafeError as error:
        raise AnnotationError(f"{file}: holds {error}, which is not read from pickles") from None
    except Exception as error:  # whatever is in the file
        raise AnnotationError(f"{file}: is damaged, or not a pickle, .json or .csv: {error}") from None


def _entries(file: Path, content: Mapping[Any, Any]) -> Iterator[tuple[Key, Array]]:
    for name, rows in content.items():
        try:
            if isinstance(name, tuple):
                video, second = name
                key = str(video), round(float(second), 6)
            else:
                key = split_key(name)
        except (ValueError, TypeError, AttributeError):
            raise AnnotationError(f"{file}: a key must be 'video,second' as in {EXAMPLE}, got {name!r}") from None
        yield key, _rows(f"{file}: {name!r}", rows)


def _rows(where: str, rows: Any) -> Array:
    try:
        boxes = np.asarray(rows, np.float32)
    except (TypeError, ValueError):
        boxes = np.zeros((1, 0), np.float32)
    if boxes.size == 0 and boxes.ndim < 2:
        return np.zeros((0, 5), np.float32)
    if boxes.ndim != 2 or boxes.shape[1] not in (4, 5):
        raise AnnotationError(
            f"{where}: must be rows of x1, y1, x2, y2 and perhaps a score, as in {EXAMPLE}, got shape {np.shape(rows)}"
        )
    if boxes.shape[1] == 4:
        boxes = np.concatenate((boxes, np.full((len(boxes), 1), np.nan, np.float32)), 1)
    elif not np.isfinite(boxes[:, 4]).all():
        raise AnnotationError(f"{where}: a score is not finite")
    return _checked(where, boxes)


def _checked(where: str, boxes: Array) -> Array:
    corners = boxes[:, :4]
    with np.errstate(invalid="ignore"):
        wrong = ~((corners >= -SLACK) & (corners <= 1 + SLACK)).all(1) | (corners[:, 2:] < corners[:, :2]).any(1)
    if wrong.any():
        box = ", ".join(f"{v:g}" for v in corners[int(np.argmax(wrong))])
        hint = "; boxes in pixels must be divided by the size of the picture" if np.nanmax(corners) > 2 else ""
        raise AnnotationError(
            f"{where}: a box must be x1, y1, x2, y2 as fractions of the picture, as in {EXAMPLE}, got {box}{hint}"
        )
    return np.concatenate((np.clip(corners, 0, 1), boxes[:, 4:]), 1)


def _of_table(file: Path) -> Proposals:
    lines = [(n, row) for n, row in enumerate(csv.reader(read_text(file, "file of proposals").splitlines()), 1) if row]
    if not lines:
        raise DataError(f"file of proposals {file} is empty")
    header = [cell.strip().lower() for cell in lines[0][1]]
    if header[0] == "video":
        needed = ["video", "time", "x1", "y1", "x2", "y2"]
        if missing := [name for name in needed if name not in header]:
            raise AnnotationError(f"{file}:{lines[0][0]}: the header needs {', '.join(missing)}")
        columns = [header.index(name) for name in needed] + ([header.index("score")] if "score" in header else [])
        lines = lines[1:]
    else:
        columns = [0, 1, 2, 3, 4, 5, 7]
    found: dict[Key, list[tuple[int, Sequence[str]]]] = {}
    for line, row in lines:
        cells = [row[c].strip() if c < len(row) else "" for c in columns]
        try:
            key = cells[0], round(float(cells[1]), 6)
        except ValueError:
            raise AnnotationError(f"{file}:{line}: needs a video and a second, got {row[:2]}") from None
        found.setdefault(key, []).append((line, cells[2:]))
    return {key: _table_rows(file, rows) for key, rows in found.items()}


def _table_rows(file: Path, rows: Iterable[tuple[int, Sequence[str]]]) -> Array:
    numbers = []
    first = 0
    for line, cells in rows:
        first = first or line
        try:
            numbers.append([float(cell) for cell in cells[:4]] + [float(c) if c else np.nan for c in (*cells[4:5],)])
        except ValueError:
            raise AnnotationError(f"{file}:{line}: a box needs four numbers, got {cells}") from None
    if len({len(row) for row in numbers}) > 1:
        raise AnnotationError(f"{file}:{first}: rows of a key frame have different columns")
    boxes = np.array(numbers, np.float32)
    if boxes.shape[1] == 4:
        boxes = np.concatenate((boxes, np.full((len(boxes), 1), np.nan, np.float32)), 1)
    return _checked(f"{file}:{first}", boxes)


def choose(
    file: Path, proposals: Proposals, keys: Sequence[Key], least: float, most: int
) -> tuple[list[Array | None], str]:
    """Return the proposals of each key frame, None where the file has none, and a sentence about how many have some.

    Args:
        file: for messages.
        proposals: from ``read_proposals``.
        keys: of the key frames.
        least: least score; if no proposal of a key frame has it, its best one remains.
        most: number of proposals of a key frame, the first.

    Raises ``DataError`` if no key frame has any: the file belongs to other videos.
    """
    listed: list[Array | None] = []
    for key in keys:
        rows = proposals.get(key)
        if rows is not None and len(rows):
            scores = rows[:, 4]
            if not np.isnan(scores).all():
                rows = rows[scores >= min(np.float32(least), np.nanmax(scores))]
            listed.append(rows[:most])
        else:
            listed.append(None)
    count = sum(rows is not None for rows in listed)
    if keys and not count:
        theirs = some(sorted({frame_key(*key) for key in list(proposals)[:3]}))
        raise DataError(
            f"{file}: has proposals of other key frames only ({theirs or 'none at all'}), and none of "
            f"{frame_key(*keys[0])}: is it for another set of videos?"
        )
    return listed, f"{file.name} has proposals for {count} of {len(keys)} key frames"
