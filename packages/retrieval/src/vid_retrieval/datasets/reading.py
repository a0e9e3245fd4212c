"""Entries of annotation files of videos and texts, with the place of each for messages."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from vidcore.data.fields import finite_number
from vidcore.data.text import read_json, read_text
from vidcore.errors import AnnotationError, nearest, some
from vidcore.files import parse_json

__all__ = ["Entry", "read_entries", "take", "text_of", "texts_of", "times_of", "video_of"]

Entry = tuple[str, Mapping[str, Any]]
"""Place of an entry (``file:line`` or ``file: entry N``) and its fields by name."""
TABLES = {".csv": ",", ".tsv": "\t"}


def read_entries(file: Path, what: str = "annotation file") -> list[Entry]:
    """Read the entries of a file.

    ``.csv`` and ``.tsv`` have a header; ``.jsonl`` has an object per line; ``.json`` has a list of objects, or an
    object from videos to their texts, whose entries become ``{"video": ..., "text": ...}``.

    Raises:
        AnnotationError: the file is not what its suffix says.
        DataError: it does not exist.
    """
    if delimiter := TABLES.get(file.suffix.lower()):
        return list(_rows(file, read_text(file, what), delimiter))
    if file.suffix.lower() == ".jsonl":
        lines = enumerate(read_text(file, what).split("\n"), 1)
        return [(f"{file}:{i}", _object(f"{file}:{i}", _parsed(f"{file}:{i}", x))) for i, x in lines if x.strip()]
    text = read_text(file, what).lstrip()
    if text.startswith("["):
        listed = enumerate(_parsed(str(file), text), 1)
        return [(f"{file}: entry {i}", _object(f"{file}: entry {i}", value)) for i, value in listed]
    return [(f"{file}: {video}", {"video": video, "text": texts}) for video, texts in read_json(file, what).items()]


def _rows(file: Path, text: str, delimiter: str) -> Iterator[Entry]:
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(rows, [])]
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            where = f"{file}:{rows.line_num}"
            if len(row) != len(header):
                raise AnnotationError(
                    f"{where}: has {len(row)} columns, the header {len(header)} ({some(header)}); "
                    "put quotes around a text that contains the delimiter"
                )
            yield where, {name: cell for name, cell in zip(header, row, strict=True) if cell.strip()}
    except csv.Error as error:
        raise AnnotationError(f"{file}:{rows.line_num}: is not CSV: {error}") from None


def _parsed(where: str, text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise AnnotationError(f"{where}: is not JSON: {error}") from None


def _object(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise AnnotationError(f'{where}: must be an object such as {{"video": ..., "text": ...}}, got {value!r:.60}')
    return value


def take(entry: Entry, *names: str) -> Any:
    """Return the value of the first of these names that an entry has. Raises ``AnnotationError`` if it has none."""
    where, fields = entry
    for name in names:
        if name in fields:
            return fields[name]
    found = f"it has {some(list(fields))}" if fields else "it is empty"
    raise AnnotationError(f"{where}: has no {names[0]!r}; {found}{nearest(names[0], fields)}")


def string_of(where: str, value: Any, what: str = "a text") -> str:
    """Return a value as a string. Raises ``AnnotationError`` if it is something else, or blank."""
    if not isinstance(value, str):
        raise AnnotationError(f"{where}: {what} must be a string, got {value!r:.60}")
    if not value.strip():
        raise AnnotationError(f"{where}: {what} is empty")
    return value


def video_of(entry: Entry) -> str:
    """Return the name of the video of an entry, in any bytes. Raises ``AnnotationError`` if it has none."""
    return string_of(entry[0], take(entry, "video"), "the name of a video")


def text_of(where: str, value: Any) -> str:
    """Return a value as a text. Raises ``AnnotationError`` if it is not a string, is blank, or is not Unicode."""
    text = string_of(where, value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise AnnotationError(f"{where}: {text!r:.60} is not valid Unicode") from None
    return text


def texts_of(where: str, value: Any) -> list[str]:
    """Return a value, a text or a list of texts, as a list. Raises ``AnnotationError`` like ``text_of``."""
    listed = value if isinstance(value, list | tuple) else [value]
    return [text_of(where, text) for text in listed]


def times_of(entry: Entry) -> tuple[float, float]:
    """Return ``start`` and ``end`` of an entry in seconds, NaN if it has neither.

    Raises ``AnnotationError`` if one is missing, or they are not times in order.
    """
    where, fields = entry
    given = [name for name in ("start", "end") if fields.get(name) not in (None, "")]
    if not given:
        return math.nan, math.nan
    if len(given) == 1:
        raise AnnotationError(f"{where}: has {given[0]!r} alone; a part of a video needs 'start' and 'end'")
    start, end = (finite_number(f"{where}: {name}", fields[name]) for name in given)
    if not 0 <= start < end:
        raise AnnotationError(f"{where}: a part must have 0 <= start < end in seconds, got {start:g} to {end:g}")
    return start, end
