"""Folders of frames listed in an annotation file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vid_recognition.datasets.annotations import load_annotations
from vid_recognition.datasets.base import ActionDataset, Modality
from vid_recognition.datasets.readers import Layout
from vidcore.data.classes import read_classes
from vidcore.sample import Sample

__all__ = ["RawframeDataset"]


class RawframeDataset(ActionDataset):
    """Folders of frames and their labels; the formats are those of ``VideoDataset``, with more columns.

    A list has the folder, the number of frames, and the class number (several with ``multi_class``);
    ``with_offset`` puts the offset before the number of frames::

        some/directory-1 163 1

    Tables and JSON lines have ``path``, ``total_frames``, ``label`` and, if ``with_offset``, ``offset``.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        filename_tmpl: template of frame file names; for flow, the first field is ``x`` or ``y``.
        with_offset: entries are clips of longer videos; frames are numbered from the offset.
        classes: class names in order, or a file with one name per line.
        num_classes: number of classes; default: that of ``classes``. Labels are checked against it.
        multi_class: an entry has any number of labels; samples have ``labels`` instead of ``label``.
        delimiter: column delimiter; default: a comma in ``.csv``, a tab in ``.tsv``, else whitespace.
        start_index: number of the first frame file.
        modality: ``RGB`` or ``Flow``.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.
        compat: parse lists exactly as MMAction2 1.x does, see ``VideoDataset``.

    Raises ``AnnotationError``, starting with ``file:line``, for a line that is not valid, ``DataError``
    for a missing or empty file.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        filename_tmpl: str = "img_{:05}.jpg",
        with_offset: bool = False,
        classes: Path | list[str] | None = None,
        num_classes: int | None = None,
        multi_class: bool = False,
        delimiter: str | None = None,
        start_index: int = 1,
        modality: Modality = "RGB",
        indices: int | Sequence[int] | None = None,
        compat: bool = False,
    ) -> None:
        columns = ("offset", "total_frames") if with_offset else ("total_frames",)
        layout = Layout(columns, multi_class, delimiter, compat)
        annotations = load_annotations(ann_file, layout, read_classes(classes), num_classes)
        super().__init__(annotations, data_root, start_index, modality, indices)
        self.filename_tmpl = filename_tmpl

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index`` with path, number of frames, offset, file name template and label."""
        *offset, total_frames = self.annotations.numbers[index].tolist()
        return (
            super()
            .__getitem__(index)
            .replace(
                total_frames=total_frames,
                frame_offset=offset[0] if offset else 0,
                filename_tmpl=self.filename_tmpl,
            )
        )
