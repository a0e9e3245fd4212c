"""Sound or its features listed in an annotation file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vid_recognition.datasets.annotations import load_annotations
from vid_recognition.datasets.base import ActionDataset
from vid_recognition.datasets.readers import Layout
from vidcore.data.classes import read_classes
from vidcore.sample import Sample

__all__ = ["AudioDataset"]


class AudioDataset(ActionDataset):
    """Files with sound, or feature files, and their labels; the formats are those of ``VideoDataset``, and a column.

    A list has the file, the number of frames of its video (clips are chosen by frames), and the class number (several
    with ``multi_class``). Every line needs a class::

        ihWykL5mYRI.npy 300 153

    Tables and JSON lines have ``path``, ``total_frames`` and ``label``. For videos without these numbers, use
    ``VideoDataset`` or ``FolderDataset``: ``LoadAudioFeature`` reads their sound.

    Args:
        ann_file: annotation file.
        data_root: folder that relative names are relative to; default: the working directory.
        suffix: appended to names that do not end with it, for lists of videos or folders of frames.
        classes: class names in order, or a file with one name per line.
        num_classes: number of classes; default: that of ``classes``. Labels are checked against it.
        multi_class: an entry has any number of labels; samples have ``labels`` instead of ``label``.
        delimiter: column delimiter; default: a comma in ``.csv``, a tab in ``.tsv``, else whitespace.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.

    Raises ``AnnotationError``, starting with ``file:line``, for a line that is not valid, ``DataError``
    for a missing or empty file.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        suffix: str = "",
        classes: Path | list[str] | None = None,
        num_classes: int | None = None,
        multi_class: bool = False,
        delimiter: str | None = None,
        indices: int | Sequence[int] | None = None,
    ) -> None:
        layout = Layout(("total_frames",), multi_class, delimiter, labelled=True)
        annotations = load_annotations(ann_file, layout, read_classes(classes), num_classes)
        super().__init__(annotations, data_root, modality="Audio", indices=indices)
        self.suffix = suffix

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index`` with path, number of frames and label."""
        return super().__getitem__(index).replace(total_frames=int(self.annotations.numbers[index][0]))

    def _path(self, name: str) -> str:
        return super()._path(name if name.endswith(self.suffix) else name + self.suffix)
