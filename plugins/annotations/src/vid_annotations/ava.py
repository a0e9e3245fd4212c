"""AVA's table without header, as other tools write it: video, time, box, action id, person.

AVA itself has fractions and seconds. A table with pixels was written by a tool, which may count frames, so it must be
said what its times are. Action ids get their names from a file.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from vid_annotations.source import Document, Options
from vid_annotations.table import MOST_FRAMES, Annotations, Description, checked_box
from vid_annotations.values import as_seconds
from vidcore.data.classes import read_classes
from vidcore.data.fields import whole_number
from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError, some

__all__ = ["read_ava"]

ITEM = re.compile(r"""name:\s*(["'])(?P<name>.*?)\1\s+(?:label_)?id:\s*(?P<number>[0-9]{1,9})""")


def read_ava(documents: list[Document], options: Options) -> Annotations:
    """Read tables of AVA. Raises ``AnnotationError`` with file and line, ``DataError`` if an option is missing."""
    rows = [row for document in documents for row in _rows(document)]
    boxes = [(where, row, checked_box(f"{where}: box", row[2:6])) for where, row in rows if len(row) > 2]
    relative = all(max(box) <= 1 for _, _, box in boxes)
    if not relative and options.counts is None:
        where, _, box = next(entry for entry in boxes if max(entry[2]) > 1)
        raise DataError(
            f"{where}: the box reaches to {max(box):g}, so boxes are pixels, while AVA's are fractions; the times may "
            "be frames, too: give --times frames or --times seconds"
        )
    if boxes and options.classes is None:
        raise DataError(f"{documents[0].name}: actions are numbers: give --classes FILE with their names")
    numbers = {whole_number(f"{where}: action", row[6]) for where, row, _ in boxes if row[6].strip()}
    names = _names(options.classes, numbers) if options.classes else {}
    result = Annotations("AVA", in_frames=options.counts == "frames", relative=relative)
    for where, row in rows:
        result.look(row[0].strip(), [_moment(where, row, result.in_frames)])
    for where, row, box in boxes:
        labels: tuple[str, ...] = ()
        if row[6].strip():
            number = int(float(row[6]))
            if number not in names:
                known = some([f"{key} {name!r}" for key, name in sorted(names.items())])
                raise AnnotationError(f"{where}: action {number} has no name; {options.classes} has {known}")
            labels = (names[number],)
        person = row[7].strip() if len(row) > 7 else ""
        if person:
            person = str(whole_number(f"{where}: person", person))
        moment = _moment(where, row, result.in_frames)
        size = (1.0, 1.0) if relative else None
        result.add(f"{where}: box", row[0].strip(), moment, box, Description(labels), person or None, size)
    return result


def _rows(document: Document) -> list[tuple[str, list[str]]]:
    lines = csv.reader(io.StringIO(document.text, newline=""), strict=True)
    found = []
    try:
        for row in lines:
            where = f"{document.name}:{lines.line_num}"
            if len(row) not in (0, 2, 7, 8):
                raise AnnotationError(
                    f"{where}: has {len(row)} values; a row has video, time, x1, y1, x2, y2, action id and, if known, "
                    "person, or only video and time"
                )
            if row:
                if not row[0].strip():
                    raise AnnotationError(f"{where}: the video has no name")
                found.append((where, row))
    except csv.Error as error:
        raise AnnotationError(f"{document.name}:{lines.line_num}: {error}") from None
    return found


def _moment(where: str, row: list[str], in_frames: bool) -> float:
    if in_frames:
        return whole_number(f"{where}: frame", row[1], 0, MOST_FRAMES)
    return as_seconds(f"{where}: time", row[1])


def _names(file: Path, numbers: set[int]) -> dict[int, str]:
    """Names by action id: a label map of AVA, or one name per line, the first of which is 0 or 1, as the table shows.

    Raises ``DataError`` if the table does not show it.
    """
    listed = {int(item["number"]): item["name"] for item in ITEM.finditer(read_text(file, "file of class names"))}
    if listed:
        return listed
    names = read_classes(file) or ()
    first = 0 if 0 in numbers else 1 if len(names) in numbers else None
    if first is None:
        raise DataError(
            f"{file}: its first name may be action 0 or 1, as the table has neither 0 nor {len(names)}: write a label "
            'map with lines such as item { name: "walk" id: 1 }'
        )
    return dict(enumerate(names, first))
