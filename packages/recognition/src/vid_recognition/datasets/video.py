"""Video files listed in an annotation file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vid_recognition.datasets.annotations import load_annotations
from vid_recognition.datasets.base import ActionDataset, Modality
from vid_recognition.datasets.readers import Layout
from vidcore.data.classes import read_classes

__all__ = ["VideoDataset"]


class VideoDataset(ActionDataset):
    r"""Video files and their labels, from an annotation file in one of three formats.

    A list without a header: name and class number, several with ``multi_class``. Names may contain
    the delimiter, because numbers are read from the right::

        some/path/my video.mp4 1
        some/path/001.mp4 2

    A table with a header; other columns are ignored, multiple labels are separated by semicolons::

        path,label
        some/path/000.mp4,running

    JSON lines (``.jsonl``); multiple labels are a list::

        {"path": "some/path/000.mp4", "label": "running"}

    Labels are class numbers or, in tables and JSON lines, class names. Without ``classes``, names
    are sorted and numbered from 0. A file without any labels is valid (for prediction); a file in
    which some entries lack labels is an error, and so is a video with two classes. Blank lines are skipped.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        classes: class names in order, or a file with one name per line.
        num_classes: number of classes; default: that of ``classes``. Labels are checked against it.
        multi_class: an entry has any number of labels; samples have ``labels`` instead of ``label``.
        delimiter: column delimiter; default: a comma in ``.csv``, a tab in ``.tsv``, else whitespace.
        start_index: number of the first frame.
        modality: ``RGB`` or ``Flow``.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.
        compat: parse lists exactly as MMAction2 1.x does: the name ends at the first delimiter,
            blank lines are entries without a name, some entries may lack labels.

    Raises ``AnnotationError``, starting with ``file:line``, for a line that is not valid, ``DataError``
    for a missing or empty file.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        classes: Path | list[str] | None = None,
        num_classes: int | None = None,
        multi_class: bool = False,
        delimiter: str | None = None,
        start_index: int = 0,
        modality: Modality = "RGB",
        indices: int | Sequence[int] | None = None,
        compat: bool = False,
    ) -> None:
        layout = Layout(multi_class=multi_class, delimiter=delimiter, compat=compat)
        annotations = load_annotations(ann_file, layout, read_classes(classes), num_classes)
        super().__init__(annotations, data_root, start_index, modality, indices)
