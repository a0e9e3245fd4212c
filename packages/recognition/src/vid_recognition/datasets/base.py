"""Base class of datasets for action recognition."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vid_recognition.datasets.annotations import Annotations, Labels
from vidcore.data.index import Ragged, fingerprint
from vidcore.errors import DataError
from vidcore.protocols import Dataset
from vidcore.sample import Sample

__all__ = ["ActionDataset", "Modality"]

Modality = Literal["RGB", "Flow"]


class ActionDataset(Dataset):
    """Serves the entries of an annotation file, kept in flat arrays, as samples without pixels.

    Args:
        annotations: the entries.
        data_root: folder that relative names are relative to; default: the working directory.
        start_index: number of the first frame.
        modality: ``RGB``, ``Flow`` or ``Audio``.
        indices: use the first n entries (n >= 0), the last -n (n < 0), or the listed ones; default: all.
    """

    def __init__(
        self,
        annotations: Annotations,
        data_root: Path | None = None,
        start_index: int = 0,
        modality: Modality | Literal["Audio"] = "RGB",
        indices: int | Sequence[int] | None = None,
    ) -> None:
        if isinstance(annotations.labels, Ragged) and annotations.num_classes is None:
            raise DataError("multi_class = true needs num_classes or classes")
        self.annotations = annotations if indices is None else annotations.take(indices)
        self.class_names = self.annotations.class_names
        self.num_classes = self.annotations.num_classes
        self.labels: Labels = self.annotations.labels
        """Single-label: (N,) int32, -1 if unknown. Multi-label: the class numbers of each entry."""
        self.data_root = data_root
        self.start_index = start_index
        self.modality = modality

    def __len__(self) -> int:
        return len(self.annotations.names)

    def __getitem__(self, index: int) -> Sample:
        """Return entry ``index`` with ``path`` and ``label``, or ``labels`` (num_classes,) float32 multi-hot."""
        index = range(len(self))[index]
        name = self.annotations.names[index]
        found = self.annotations.labels[index]
        label, labels = None, None
        if isinstance(found, np.ndarray):
            labels = np.zeros(self.num_classes or 0, np.float32)
            labels[found] = 1
        elif found >= 0:
            label = int(found)
        return Sample(
            index=index,
            path=self._path(name),
            label=label,
            labels=labels,
            class_names=self.class_names,
            start_index=self.start_index,
            modality=self.modality,
        )

    def _path(self, name: str) -> str:
        return name if self.data_root is None else os.path.join(self.data_root, name)

    def sample_paths(self) -> Iterator[str]:
        """Return the paths of all entries."""
        return map(self._path, self.annotations.names)

    def notes(self) -> Sequence[str]:
        """Return what is odd about the annotation file."""
        return self.annotations.notes

    def fingerprint(self) -> str:
        """Return a hash of names, labels and class names: equal for two runs on the same data."""
        rows, labels = self.annotations.names.rows, self.annotations.labels
        parts = (labels.values, labels.offsets) if isinstance(labels, Ragged) else (labels,)
        head = repr((len(self), self.num_classes, self.class_names))
        return fingerprint(head, rows.values, rows.offsets, self.annotations.numbers, *parts)
