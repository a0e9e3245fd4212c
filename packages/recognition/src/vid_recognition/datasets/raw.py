"""Long videos that were cut into clips, some of which show the action (OmniSource)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vid_recognition.datasets.annotations import Annotations
from vid_recognition.datasets.base import ActionDataset
from vid_recognition.datasets.classes import INTEGER, Vocabulary
from vid_recognition.records import ClipFiles
from vidcore.data.classes import check_file, read_classes
from vidcore.data.fields import whole_number
from vidcore.data.index import Ragged, StringTable, fingerprint, select_rows
from vidcore.errors import AnnotationError, DataError
from vidcore.files import parse_json
from vidcore.sample import Sample

__all__ = ["RawVideoDataset"]

Entry = tuple[int, str, int, int, list[int]]
"""Line (or number of the entry), name, label, number of clips, positive clips."""


class RawVideoDataset(ActionDataset):
    """Long videos that were cut into clips of some seconds, as OmniSource has them; ``PickClip`` chooses one.

    A sample is a long video: the folder of its clips, ``some/D32_1gwq35E/part_0.mp4``, ``part_1.mp4``, ... A list has
    the folder, the class number, the number of clips, and the numbers of those that show the action::

        some/D32_1gwq35E 66 10 0 1 2
        some/-G-5CJ0JkKY 254 5 3 4

    A JSON file is a list of objects with ``video_path``, ``label``, ``num_clips`` and ``positive_clip_inds``.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        clipname_tmpl: name of a clip in its folder, with a field for its number.
        classes: class names in order, or a file with one name per line.
        num_classes: number of classes; default: that of ``classes``. Labels are checked against it.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    Raises ``AnnotationError``, starting with file and line (of JSON: entry), for an entry that is not valid,
    ``DataError`` for a missing or empty file.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        clipname_tmpl: str = "part_{}.mp4",
        classes: Path | list[str] | None = None,
        num_classes: int | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        check_file(ann_file, "annotation file")
        as_json = ann_file.suffix.lower() == ".json"
        place = "{file}: entry {line}" if as_json else "{file}:{line}"
        vocabulary = Vocabulary(ann_file, read_classes(classes), num_classes, place)
        counts: list[int] = []
        positive: list[list[int]] = []

        def names() -> Iterator[str]:
            entries = _json_entries if as_json else _list_entries
            for line, name, label, count, numbers in entries(ann_file):
                if not numbers or not all(0 <= number < count for number in numbers):
                    where = place.format(file=ann_file, line=line)
                    wanted = f"must be some of its {count} clips, 0 to {count - 1}"
                    raise AnnotationError(f"{where}: the positive clips of {name!r} {wanted}, got {numbers}")
                vocabulary.add(label, line)
                counts.append(count)
                positive.append(numbers)
                yield name

        table = StringTable.from_strings(names())
        if not counts:
            raise DataError(f"annotation file {ann_file} has no entries")
        labels = vocabulary.finish()
        columns = np.array(counts, np.int32)[:, None]
        annotations = Annotations(table, labels, columns, vocabulary.class_names, vocabulary.num_classes)
        super().__init__(annotations, data_root, indices=indices)
        rows = Ragged.from_rows(positive, np.int32)
        self.positive = rows if indices is None else rows.take(select_rows(indices, len(rows)))
        """Numbers of the clips that show the action, of each video."""
        self.clipname_tmpl = clipname_tmpl

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index`` with the path of its folder, label and ``extra["clip_files"]``."""
        sample = super().__getitem__(index)
        count = int(self.annotations.numbers[sample.index, 0])
        return sample.with_extra(clip_files=ClipFiles(self.positive[sample.index], count, self.clipname_tmpl))

    def fingerprint(self) -> str:
        """Return a hash of names, labels and clips."""
        return fingerprint(super().fingerprint(), self.positive.values, self.positive.offsets)


def _list_entries(file: Path) -> Iterator[Entry]:
    with file.open(encoding="utf-8-sig", errors="surrogateescape") as lines:
        for line, text in enumerate(lines, 1):
            name, *cells = text.split() or [""]
            if not name:
                continue
            if len(cells) < 3 or not all(INTEGER(cell) for cell in cells):
                found = text.strip()[:60]
                raise AnnotationError(f"{file}:{line}: must be 'path label clips positive...', got {found!r}")
            label, count, *positive = map(int, cells)
            yield line, name, label, count, positive


def _json_entries(file: Path) -> Iterator[Entry]:
    try:
        content: Any = parse_json(file.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{file}:{error.lineno}: not JSON: {error.msg} at column {error.colno}") from error
    except ValueError as error:
        raise AnnotationError(f"{file}: not JSON that can be read: {error}") from error
    if not isinstance(content, list):
        raise DataError(f"annotation file {file} must be a list of objects")
    for number, entry in enumerate(content):
        where = f"{file}: entry {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("video_path"), str):
            raise AnnotationError(f"{where}: must be an object with a video_path, got {str(entry)[:60]}")
        positive = entry.get("positive_clip_inds")
        if not isinstance(positive, list):
            raise AnnotationError(f"{where}: positive_clip_inds must be a list of numbers, got {str(positive)[:60]}")
        label, count = (whole_number(f"{where}: {key}", entry.get(key)) for key in ("label", "num_clips"))
        numbers = [whole_number(f"{where}: positive_clip_inds", clip) for clip in positive]
        yield number, entry["video_path"], label, count, numbers
