"""Readers of annotation files: text list, table with a header (CSV), JSON lines.

Each yields one ``Row`` per entry, and raises ``AnnotationError`` starting with ``file:line``.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from attrs import frozen

from vid_recognition.datasets.classes import INTEGER, OTHER_NUMBER
from vidcore.errors import AnnotationError, nearest
from vidcore.files import parse_json
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["Layout", "Row", "read_rows"]

WRONG_DELIMITER = re.compile(r"(?:([,;|\t])|\.\w{2,4}( ))[0-9]+$").search
NAMED_LABEL = re.compile(rf"({'|'.join(map(re.escape, VIDEO_SUFFIXES))})\"?[\s,;|]+[^\s.][^.]*$", re.I).search


PART = ("start", "end")
"""Columns of a list whose entries are parts of videos."""
DECIMAL = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]*)?").fullmatch


class Row(NamedTuple):
    """One entry of the file, as written."""

    line: int
    name: str
    numbers: Sequence[float]
    """One per column of the layout, such as the number of frames."""
    labels: Sequence[int | str]
    """Class numbers or names; empty if the entry has none."""


@frozen
class Layout:
    """The format of the entries of an annotation file."""

    columns: tuple[str, ...] = ()
    """Columns of numbers between the name and the labels (``total_frames``)."""
    multi_class: bool = False
    """Entries have any number of labels, instead of at most one."""
    delimiter: str | None = None
    """Column delimiter; None: a comma in ``.csv``, a tab in ``.tsv``, else whitespace."""
    compat: bool = False
    """Parse lists exactly as MMAction2 1.x does: names end at the first delimiter, blank lines are entries."""
    labelled: bool = False
    """Every entry must have a label."""
    decimals: bool = False
    """The columns may have fractions."""

    def __str__(self) -> str:
        return " ".join(("path", *self.columns, "label..." if self.multi_class else "label"))


def read_rows(path: Path, layout: Layout) -> Iterator[Row]:
    """Read an annotation file: ``.jsonl`` is JSON lines, a file whose first line has ``path`` or ``label`` a table."""
    delimiter = layout.delimiter or {".csv": ",", ".tsv": "\t"}.get(path.suffix.lower())
    # drops a byte order mark, accepts any bytes in names and any line ending
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        first = file.readline()
        if "\0" in first:
            raise AnnotationError(f"{path}:1: not a UTF-8 text file (it contains zero bytes; UTF-16?)")
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
            if layout.labelled and not row.labels:
                raise AnnotationError(f"{path}:{row.line}: no label for {row.name!r}; a line must be '{layout}'")
            if layout.columns == PART and row.numbers[0] >= row.numbers[1]:
                raise AnnotationError(f"{path}:{row.line}: end must be after start, got {row.numbers}")
            if row.numbers and min(row.numbers) < 0:
                what = ", ".join(layout.columns)
                raise AnnotationError(f"{path}:{row.line}: {what} must not be negative, got {row.numbers}")
            yield row


def _list_rows(path: Path, file: TextIO, layout: Layout, delimiter: str | None) -> Iterator[Row]:
    """Read a list without a header. Numbers are read from the right, because names may contain the delimiter."""
    for line, text in enumerate(file, 1):
        name = text.strip()
        if not name:
            continue
        numbers: list[int | float] = []
        accepted = DECIMAL if layout.decimals else INTEGER
        while len(parts := name.rsplit(delimiter, 1)) == 2 and accepted(last := parts[1].strip()):
            numbers.insert(0, int(last) if INTEGER(last) else float(last))
            name = parts[0]
        if not numbers:
            _check_unlabelled(path, line, name, delimiter)
        yield _list_row(path, line, name.rstrip(), numbers, layout)


def _check_unlabelled(path: Path, line: int, name: str, delimiter: str | None) -> None:
    """Raise an error if a line without numbers looks like a line of another format, rather than like a lone name."""
    if OTHER_NUMBER(last := name.rsplit(delimiter, 1)[-1].strip()) and last != name:
        raise AnnotationError(f"{path}:{line}: {last} in {name!r} is not a whole number, and not one of the classes")
    if other := WRONG_DELIMITER(name):
        found = other[1] or other[2]
        raise AnnotationError(f"{path}:{line}: no label in {name!r}; delimiter = {found!r} would find one")
    table = "the first line of a table is path,label (set delimiter if columns are not separated by commas)"
    if {"path", "label"} <= {cell.strip('" ').lower() for cell in re.split(r"[,;|\t]", name)}:
        raise AnnotationError(f"{path}:{line}: {name!r} would be read as a file name; {table}")
    if NAMED_LABEL(name):
        raise AnnotationError(f"{path}:{line}: no class number in {name!r}; for class names, {table}")


def _compat_rows(path: Path, file: TextIO, layout: Layout, delimiter: str | None) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        name, *cells = text.strip().split(delimiter) or [""]
        for cell in cells:
            if not INTEGER(cell.strip()):
                raise AnnotationError(f"{path}:{line}: {cell!r} is not an integer; a line must be '{layout}'")
        yield _list_row(path, line, name, [int(cell) for cell in cells], layout)


def _list_row(path: Path, line: int, name: str, numbers: Sequence[int | float], layout: Layout) -> Row:
    columns = len(layout.columns)
    labels = [label for label in numbers[columns:] if isinstance(label, int)]
    whole = len(labels) == len(numbers[columns:])
    if len(numbers) < columns or not whole or (len(labels) > 1 and not layout.multi_class):
        hint = "; multiple labels need multi_class = true" if labels else ""
        raise AnnotationError(f"{path}:{line}: {numbers} after {name!r}, but a line must be '{layout}'{hint}")
    return Row(line, name, numbers[:columns], _without_missing(labels, layout))


def _without_missing(labels: Sequence[int | str], layout: Layout) -> Sequence[int | str]:
    """Drop the -1 or empty cell that stands for no label in single-label files."""
    return () if not layout.multi_class and labels and labels[0] in (-1, "-1", "") else labels


def _table_rows(path: Path, file: TextIO, layout: Layout, delimiter: str) -> Iterator[Row]:
    """Read a table with the columns ``path``, ``label`` and those of the layout, in any order; ignore others.

    Multiple labels are in one cell, separated by semicolons.
    """
    reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        header = [cell.strip() for cell in next(reader)]
        shown = ", ".join(header)
        if len(set(header)) < len(header):
            raise AnnotationError(f"{path}:1: duplicate column: {shown}")
        for column in ("path", *layout.columns):
            if column not in header:
                raise AnnotationError(f"{path}:1: no column {column!r} among {shown}{nearest(column, header)}")
        if "label" not in header and (hint := nearest("label", header)):
            raise AnnotationError(f"{path}:1: no column 'label' among {shown}{hint}")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                found = f"{len(cells)} columns, but the header has {len(header)}: {shown}"
                raise AnnotationError(f"{path}:{reader.line_num}: {found}")
            entry = dict(zip(header, (cell.strip() for cell in cells), strict=True))
            accepted, wanted = (DECIMAL, "a number") if layout.decimals else (INTEGER, "an integer")
            for column in layout.columns:
                if not accepted(entry[column]):
                    found = f"{column} must be {wanted}, got {entry[column]!r}"
                    raise AnnotationError(f"{path}:{reader.line_num}: {found}")
            label = entry.get("label", "")
            labels = [part for cell in label.split(";") if (part := cell.strip())] if layout.multi_class else [label]
            numbers = [float(entry[column]) if layout.decimals else int(entry[column]) for column in layout.columns]
            yield Row(reader.line_num, entry["path"], numbers, _without_missing(labels, layout))
    except csv.Error as error:
        raise AnnotationError(f"{path}:{reader.line_num}: {error}") from error


def _json_rows(path: Path, file: TextIO, layout: Layout) -> Iterator[Row]:
    """Read one object per line: ``{"path": "a.mp4", "label": 3}``; a label is a number, a name or a list of these."""
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            entry: Any = parse_json(text)
        except json.JSONDecodeError as error:
            raise AnnotationError(f"{path}:{line}: not JSON: {error.msg} at column {error.colno}") from error
        except ValueError as error:
            raise AnnotationError(f"{path}:{line}: not JSON that can be read: {error}") from error
        if not isinstance(entry, dict):
            raise AnnotationError(f"{path}:{line}: must be an object, got {text.strip()[:60]}")
        name = entry.get("path")
        if not isinstance(name, str):
            raise AnnotationError(f"{path}:{line}: path must be a string, got {name!r}{nearest('path', entry)}")
        if "label" not in entry and (hint := nearest("label", entry)):
            raise AnnotationError(f"{path}:{line}: no key 'label'{hint}")
        numbers: list[float] = []
        accepted, wanted = ((int, float), "a number") if layout.decimals else ((int,), "an integer")
        for column in layout.columns:
            number: Any = entry.get(column)
            if type(number) not in accepted or not number < 2**31:
                raise AnnotationError(f"{path}:{line}: {column} must be {wanted}, got {number!r}")
            numbers.append(number)
        label = entry.get("label")
        labels = label if layout.multi_class else [] if label is None else [label]
        if not isinstance(labels, list):
            raise AnnotationError(f"{path}:{line}: label must be a list if multi_class = true, got {label!r}")
        for one in labels:
            if type(one) is not int and type(one) is not str:
                hint = "; multiple labels need multi_class = true" if isinstance(one, list) else ""
                raise AnnotationError(f"{path}:{line}: label must be a number or a name, got {one!r}{hint}")
        yield Row(line, name, numbers, _without_missing(labels, layout))
