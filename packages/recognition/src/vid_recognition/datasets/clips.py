"""Parts of long videos listed in an annotation file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vid_recognition.datasets.annotations import load_annotations
from vid_recognition.datasets.base import ActionDataset, Modality
from vid_recognition.datasets.readers import PART, Layout
from vidcore.data.classes import read_classes
from vidcore.records import Cut
from vidcore.sample import Sample

__all__ = ["ClipDataset"]


class ClipDataset(ActionDataset):
    """Parts of long videos and their labels; nothing has to be cut into files.

    Steps see a part as a whole video. The formats are those of ``VideoDataset``, with start and end before the class
    number (or several numbers with ``multi_class``)::

        some/match.mp4 12.5 18 3
        some/match.mp4 40 44.2 0

    Tables and JSON lines have ``path``, ``start``, ``end`` and ``label``.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        unit: of start and end: ``seconds``, or ``frames`` counted from 0. ``end`` is the first that does not belong to
            the part.
        classes: class names in order, or a file with one name per line.
        num_classes: number of classes; default: that of ``classes``. Labels are checked against it.
        multi_class: an entry has any number of labels; samples have ``labels`` instead of ``label``.
        delimiter: column delimiter; default: a comma in ``.csv``, a tab in ``.tsv``, else whitespace.
        modality: ``RGB`` or ``Flow``.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    Raises ``AnnotationError``, starting with ``file:line``, for a line that is not valid, ``DataError``
    for a missing or empty file.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        unit: Literal["seconds", "frames"] = "seconds",
        classes: Path | list[str] | None = None,
        num_classes: int | None = None,
        multi_class: bool = False,
        delimiter: str | None = None,
        modality: Modality = "RGB",
        indices: int | Sequence[int] | None = None,
    ) -> None:
        layout = Layout(PART, multi_class, delimiter, decimals=unit == "seconds")
        annotations = load_annotations(ann_file, layout, read_classes(classes), num_classes)
        super().__init__(annotations, data_root, 0, modality, indices)
        self.in_seconds = unit == "seconds"

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index`` with path, ``cut``, label, and a ``key`` that has the start and end in it."""
        sample = super().__getitem__(index)
        start, end = self.annotations.numbers[sample.index].tolist()
        key = f"{Path(sample.path or '').stem}_{start:g}_{end:g}"
        return sample.replace(key=key, cut=Cut(start, end, self.in_seconds))
