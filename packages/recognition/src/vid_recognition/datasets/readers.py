"""The formats of annotation files: text list, table with a header (CSV), JSON lines.

Each reader yields a ``Row`` per entry. A mistake is an ``AnnotationError`` that starts with ``file:line``.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from attrs import frozen

from vid_recognition.datasets.classes import INTEGER
from vidcore.errors import AnnotationError, nearest
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["Layout", "Row", "read_rows"]

WRONG_DELIMITER = re.compile(r"(?:([,;|\t])|\.\w{2,4}( ))[0-9]+$").search
NAMED_LABEL = re.compile(rf"({'|'.join(map(re.escape, VIDEO_SUFFIXES))})\"?[\s,;|]+[^\s.][^.]*$", re.I).search


class Row(NamedTuple):
    """One entry as it stands in the file."""

    line: int
    name: str
    numbers: Sequence[int]
    """One for each wanted column, such as the number of frames."""
    labels: Sequence[int | str]
    """Class numbers or names; empty where the file gives none."""


@frozen
class Layout:
    """What an entry of an annotation file is made of."""

    columns: tuple[str, ...] = ()
    """Whole numbers that stand between the name and the labels (``total_frames``)."""
    multi_class: bool = False
    """Any number of labels, instead of one or none."""
    delimiter: str | None = None
    """Between columns; None: a comma in ``.csv``, a tab in ``.tsv``, else white space."""
    compat: bool = False
    """Read lists to the letter as MMAction2 1.x does: names end at the first delimiter, blank lines are entries."""

    def __str__(self) -> str:
        return " ".join(("path", *self.columns, "label..." if self.multi_class else "label"))


def read_rows(path: Path, layout: Layout) -> Iterator[Row]:
    """Read an annotation file; ``.jsonl`` is JSON lines, a first line with ``path`` or ``label`` makes a table."""
    delimiter = layout.delimiter or {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    # a byte order mark is dropped, names may hold any bytes, \r\n and \r end lines as well
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        first = file.readline()
        if "\0" in first:
            raise AnnotationError(f"{path}:1: not a text file in UTF-8 (it holds zero bytes; UTF-16?)")
        file.seek(0)
        if path.suffix.lower() == ".jsonl":
            rows = _json_rows(path, file, layout)
        elif layout.compat:
            rows = _compat_rows(path, file, layout, delimiter)
        elif delimiter and {"path", "label"} & {cell.strip().strip('"') for cell in first.split(delimiter)}:
            rows = _table_rows(path, file, layout, delimiter)
        else:
            rows = _list_rows(path, file, layout, delimiter)
        for row in rows:
            if not row.name and not layout.compat:
                raise AnnotationError(f"{path}:{row.line}: no file name")
            if row.numbers and min(row.numbers) < 0:
                what = ", ".join(layout.columns)
                raise AnnotationError(f"{path}:{row.line}: {what} must not be negative, got {row.numbers}")
            yield row


def _list_rows(path: Path, file: TextIO, layout: Layout, delimiter: str | None) -> Iterator[Row]:
    """A list without header. Numbers are taken from the right, because names may hold the delimiter."""
    for line, text in enumerate(file, 1):
        name = text.strip()
        if not name:
            continue
        numbers: list[int] = []
        while len(parts := name.rsplit(delimiter, 1)) == 2 and INTEGER(parts[1].strip()):
            numbers.insert(0, int(parts[1]))
            name = parts[0]
        if not numbers:
            _check_unlabelled(path, line, name)
        yield _list_row(path, line, name.rstrip(), numbers, layout)


def _check_unlabelled(path: Path, line: int, name: str) -> None:
    """A line without numbers may be a name and nothing else; not one that ends like a line of another format."""
    if other := WRONG_DELIMITER(name):
        found = other[1] or other[2]
        raise AnnotationError(f"{path}:{line}: no label in {name!r}; delimiter = {found!r} would find one")
    table = "the first line of a table is path,label (columns that no comma separates need a delimiter)"
    if {"path", "label"} <= {cell.strip('" ').lower() for cell in re.split(r"[,;|\t]", name)}:
        raise AnnotationError(f"{path}:{line}: {name!r} would be a file name; {table}")
    if NAMED_LABEL(name):
        raise AnnotationError(f"{path}:{line}: no class number in {name!r}; for class names, {table}")


def _compat_rows(path: Path, file: TextIO, layout: Layout, delimiter: str | None) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        name, *cells = text.strip().split(delimiter) or [""]
        for cell in cells:
            if not INTEGER(cell.strip()):
                raise AnnotationError(f"{path}:{line}: {cell!r} is not a whole number; a line is '{layout}'")
        yield _list_row(path, line, name, [int(cell) for cell in cells], layout)


def _list_row(path: Path, line: int, name: str, numbers: list[int], layout: Layout) -> Row:
    wanted = len(layout.columns)
    labels = numbers[wanted:]
    if len(numbers) < wanted or (len(labels) > 1 and not layout.multi_class):
        several = "; several labels need multi_class = true" if labels else ""
        raise AnnotationError(f"{path}:{line}: {numbers} after {name!r}, but a line is '{layout}'{several}")
    return Row(line, name, numbers[:wanted], _without_missing(labels, layout))


def _without_missing(labels: Sequence[int | str], layout: Layout) -> Sequence[int | str]:
    """Drop the -1 (and the empty cell) by which single-label files say that there is no label."""
    return () if not layout.multi_class and labels and labels[0] in (-1, "-1", "") else labels


def _table_rows(path: Path, file: TextIO, layout: Layout, delimiter: str) -> Iterator[Row]:
    """A table with the columns ``path``, ``label`` and the wanted numbers in any order; others are ignored.

    Several labels stand in one cell, separated by semicolons.
    """
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [cell.strip() for cell in next(reader)]
        shown = ", ".join(header)
        if len(set(header)) < len(header):
            raise AnnotationError(f"{path}:1: a column is there twice: {shown}")
        for column in ("path", *layout.columns):
            if column not in header:
                raise AnnotationError(f"{path}:1: no column {column!r} among {shown}{nearest(column, header)}")
        if "label" not in header and (hint := nearest("label", header)):
            raise AnnotationError(f"{path}:1: no column 'label' among {shown}{hint}")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                found = f"{len(cells)} columns, but the header names {len(header)}: {shown}"
                raise AnnotationError(f"{path}:{reader.line_num}: {found}")
            entry = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            for column in layout.columns:
                if not INTEGER(entry[column]):
                    found = f"{column} must be a whole number, got {entry[column]!r}"
                    raise AnnotationError(f"{path}:{reader.line_num}: {found}")
            label = entry.get("label", "")
            labels = [part for cell in label.split(";") if (part := cell.strip())] if layout.multi_class else [label]
            numbers = [int(entry[column]) for column in layout.columns]
            yield Row(reader.line_num, entry["path"], numbers, _without_missing(labels, layout))
    except csv.Error as error:
        raise AnnotationError(f"{path}:{reader.line_num}: {error}") from error


def _json_rows(path: Path, file: TextIO, layout: Layout) -> Iterator[Row]:
    """One object per line: ``{"path": "a.mp4", "label": 3}``; a label is a number or a name, several are a list."""
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            entry: Any = json.loads(text)
        except json.JSONDecodeError as error:
            raise AnnotationError(f"{path}:{line}: not JSON: {error.msg} at column {error.colno}") from error
        if not isinstance(entry, dict):
            raise AnnotationError(f"{path}:{line}: must be an object, got {text.strip()[:60]}")
        name = entry.get("path")
        if not isinstance(name, str):
            raise AnnotationError(f"{path}:{line}: path must be a string, got {name!r}{nearest('path', entry)}")
        if "label" not in entry and (hint := nearest("label", entry)):
            raise AnnotationError(f"{path}:{line}: no key 'label'{hint}")
        numbers: list[int] = []
        for column in layout.columns:
            number = entry.get(column)
            if type(number) is not int or number >= 2**31:
                raise AnnotationError(f"{path}:{line}: {column} must be a whole number, got {number!r}")
            numbers.append(number)
        label = entry.get("label")
        labels = label if layout.multi_class else [] if label is None else [label]
        if not isinstance(labels, list):
            raise AnnotationError(f"{path}:{line}: label must be a list with multi_class = true, got {label!r}")
        for one in labels:
            if type(one) is not int and type(one) is not str:
                several = "; several labels need multi_class = true" if isinstance(one, list) else ""
                raise AnnotationError(f"{path}:{line}: label must be a number or a name, got {one!r}{several}")
        yield Row(line, name, numbers, _without_missing(labels, layout))
