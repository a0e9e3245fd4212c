"""VIA 3 (VGG Image Annotator): projects (JSON), their export as CSV, and the CSV of segments.

Times are seconds. Boxes are pixels, tied to a time and to nobody: an attribute may tell who it is.

Formats: https://gitlab.com/vgg/via/-/blob/master/via-3.x.y/CodeDoc.md
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vid_annotations.places import frames_of_names, name_of
from vid_annotations.source import Document, Options
from vid_annotations.table import Annotations, Description, Span, checked_box
from vid_annotations.values import as_list, as_seconds, as_table, as_words
from vidcore.data.fields import finite_number
from vidcore.errors import AnnotationError, DataError, UserError, some
from vidcore.files import parse_json

__all__ = ["read_via"]

RECTANGLE = 2
SHAPES = {1: "points", 3: "circles", 4: "ellipses", 5: "lines", 6: "polylines", 7: "polygons", 8: "extreme rectangles",
          9: "extreme circles"}  # fmt: skip
CHECKBOX, RADIO, SELECT = 2, 3, 4
LOCAL, INLINE, IMAGE = 1, 4, 2
HEADER = re.compile(r"#\s*(?P<key>ATTRIBUTE|CSV_HEADER)\s*=\s*(?P<value>.*)")


@frozen
class Entry:
    """A metadata entry: what was said of some time of a file, or of a region in it."""

    where: str
    files: list[str]
    """Names of the files that it is about."""
    times: list[float]
    """None: the whole file; one: a moment; two: a segment."""
    region: list[Any]
    """Number of the shape and its numbers; empty: the whole picture."""
    values: Mapping[str, Any]
    """By id, or name, of the attribute."""
    image: bool
    """The file is a picture."""


def read_via(documents: list[Document], options: Options) -> Annotations:
    """Read files of VIA 3. Raises ``AnnotationError``, with file and line or path to the value."""
    result = Annotations("VIA", in_frames=False)
    for document in documents:
        start = document.content.lstrip(b"\xef\xbb\xbf \t\r\n")
        entries, attributes = _project(document) if start.startswith(b"{") else _table(document)
        for entry in entries:
            _add(result, entry, _describe(entry, attributes), options)
    return result


def _project(document: Document) -> tuple[list[Entry], dict[str, Any]]:
    content = as_table(document.name, document.json)
    tables = {
        key: as_table(f"{document.name}: {key}", content.get(key)) for key in ("attribute", "file", "metadata", "view")
    }
    files: dict[str, tuple[str, bool]] = {}
    for number, value in tables["file"].items():
        where = f"{document.name}: file.{number}"
        file = as_table(where, value)
        name = str(file.get("fname") or "")
        if file.get("loc", LOCAL) not in (LOCAL, INLINE) or not name:
            name = str(file.get("src") or name)
        if not name:
            raise AnnotationError(f"{where}: needs 'fname' or 'src', the name of the file")
        files[number] = name, file.get("type") == IMAGE
    entries = []
    for number, value in tables["metadata"].items():
        where = f"{document.name}: metadata.{number}"
        item = as_table(where, value)
        view = as_table(f"{where}.vid", tables["view"].get(str(item.get("vid"))))
        shown = [str(file) for file in as_list(f"{document.name}: view.{item['vid']}.fid_list", view.get("fid_list"))]
        if unknown := [file for file in shown if file not in files]:
            raise AnnotationError(
                f"{where}: view {item['vid']} has the file {unknown[0]!r}; known are {some(list(files))}"
            )
        entries.append(
            Entry(
                where,
                [files[file][0] for file in shown],
                _times(where, item.get("z")),
                as_list(f"{where}.xy", item.get("xy", [])),
                as_table(f"{where}.av", item.get("av", {})),
                any(files[file][1] for file in shown),
            )
        )
    return entries, tables["attribute"]


def _times(where: str, value: Any) -> list[float]:
    times = [as_seconds(f"{where}: time", number) for number in as_list(f"{where}: times", value or [])]
    if len(times) > 2 or times != sorted(times):
        raise AnnotationError(f"{where}: times must be none, a moment, or start and end, got {times}")
    return times


def _table(document: Document) -> tuple[list[Entry], dict[str, Any]]:
    attributes: dict[str, Any] = {}
    header: list[str] = []
    rows: list[tuple[int, str]] = []
    for number, line in enumerate(document.text.replace("\r\n", "\n").split("\n"), 1):
        if match := HEADER.match(line):
            if match["key"] == "CSV_HEADER":
                header = [name.strip() for name in match["value"].split(",")]
            else:
                where = f"{document.name}:{number}: ATTRIBUTE"
                attributes = as_table(where, _json(where, match["value"]))
        elif line.strip() and not line.startswith("#"):
            rows.append((number, line))
    if not {"metadata_id", "file_list", "metadata"} <= set(header):
        raise AnnotationError(
            f"{document.name}: needs a line '# CSV_HEADER = metadata_id,file_list,...,metadata', as VIA 3 writes it"
        )
    return [_row(f"{document.name}:{number}", line, header) for number, line in rows], attributes


def _row(where: str, line: str, header: list[str]) -> Entry:
    try:
        (fields,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise AnnotationError(f"{where}: {error}: is a quotation mark not closed?") from None
    if len(fields) != len(header):
        raise AnnotationError(f"{where}: has {len(fields)} values, the header names {len(header)}: {', '.join(header)}")
    row = dict(zip(header, fields, strict=True))
    if "temporal_segment_start" in row:
        times = [t for t in (row["temporal_segment_start"], row.get("temporal_segment_end", "")) if t.strip()]
    else:
        times = _json(f"{where}: temporal_coordinates", row.get("temporal_coordinates") or "[]")
    files = [str(f) for f in as_list(f"{where}: file_list", _json(f"{where}: file_list", row["file_list"]))]
    region = as_list(f"{where}: xy", _json(f"{where}: spatial_coordinates", row.get("spatial_coordinates") or "[]"))
    values = as_table(f"{where}: metadata", _json(f"{where}: metadata", row["metadata"]))
    image = bool(region) and not times
    return Entry(where, files, _times(where, times), region, values, image)


def _json(where: str, text: str) -> Any:
    try:
        return parse_json(text)
    except UserError:
        raise
    except ValueError as error:
        raise AnnotationError(f"{where}: is not JSON: {error}") from None


def _describe(entry: Entry, attributes: Mapping[str, Any]) -> Description:
    """Names of attributes and options in place of their ids."""
    by_name = {str(a.get("aname")): a for a in attributes.values() if isinstance(a, dict)}
    found = {}
    for key, value in entry.values.items():
        attribute = attributes.get(key) or by_name.get(key)
        if not isinstance(attribute, dict):
            raise AnnotationError(f"{entry.where}: attribute {key!r} is unknown; the file has {some(list(attributes))}")
        name = str(attribute.get("aname") or key)
        kind, texts = attribute.get("type"), as_words(value)
        if kind in (CHECKBOX, RADIO, SELECT):
            options = as_table(f"{entry.where}: options of {name!r}", attribute.get("options", {}))
            numbers = [
                n.strip() for text in texts for n in (text.split(",") if kind == CHECKBOX else [text]) if n.strip()
            ]
            for number in numbers:
                if number not in options:
                    known = some([f"{n} ({options[n]})" for n in options])
                    raise AnnotationError(f"{entry.where}: {name!r} has no option {number!r}; options are {known}")
            texts = tuple(word for number in numbers for word in as_words(options[number]))
        found[name] = texts
    return Description((), found)


def _add(result: Annotations, entry: Entry, about: Description, options: Options) -> None:
    if len(entry.files) != 1:
        result.lost["entries about several files at once"] += 1
        return
    (file,) = entry.files
    if entry.image and not entry.times:
        if options.fps is None:
            raise DataError(f"{entry.where}: {file!r} is a picture: give --fps, the frames per second of its video")
        video, frame = frames_of_names({file: entry.where}, options.video, first=options.first_frame)[file]
        times = [frame / options.fps]
    else:
        video, times = options.video or name_of(file), entry.times
    result.look(video, times if len(times) == 1 else ())
    if entry.region:
        shape = entry.region[0]
        if shape != RECTANGLE:
            result.lost[SHAPES.get(shape, f"shapes {shape!r}") if isinstance(shape, int) else f"shapes {shape!r}"] += 1
        elif len(times) != 1:
            result.lost["boxes without a moment"] += 1
        else:
            numbers = as_list(f"{entry.where}: rectangle", entry.region, 5)[1:]
            left, top, width, height = (finite_number(f"{entry.where}: rectangle", number) for number in numbers)
            box = checked_box(f"{entry.where}: rectangle", [left, top, left + width, top + height])
            result.add(entry.where, video, times[0], box, about)
    elif len(times) == 2:
        result.spans.append(Span(video, times[0], times[1], about))
    elif any(about.attributes.values()):
        result.lost["values of whole files and of moments without a box"] += 1
