"""The dataset of skeletons."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vid_skeleton.files import read_skeletons
from vidcore.data.classes import read_classes
from vidcore.data.index import fingerprint
from vidcore.errors import DataError, nearest
from vidcore.geometry import Geometry
from vidcore.protocols import Dataset
from vidcore.records import Joints
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["PoseDataset"]


class PoseDataset(Dataset):
    """Serves the videos of a file of skeletons, with the joints of all people in all frames.

    The file is mapped into memory: workers share it, and its size does not matter.

    Args:
        ann_file: ``.npz`` file of skeletons, such as ``vidcore skeletons`` writes.
        split: name of a split in the file; default: all videos.
        classes: class names, or a file with one per line; default: those in the file.

    Raises:
        DataError: the file has no such split, or the split is empty.
    """

    def __init__(self, ann_file: Path, split: str | None = None, classes: Path | Sequence[str] | None = None) -> None:
        self.ann_file = ann_file
        self.file = read_skeletons(ann_file)
        if split is not None and split not in self.file.splits:
            found = ", ".join(self.file.splits) or "none"
            raise DataError(f"{ann_file}: has no split {split!r}, it has {found}{nearest(split, self.file.splits)}")
        self.rows = np.arange(len(self.file)) if split is None else np.asarray(self.file.splits[split])
        if not len(self.rows):
            raise DataError(f"{ann_file}: {'has no videos' if split is None else f'the split {split!r} is empty'}")
        self.class_names = read_classes(classes) or self.file.class_names
        labels = self.file.labels
        chosen = np.full(len(self.rows), -1) if labels is None else np.asarray(labels[self.rows])
        self._labels: Array = chosen.astype(np.int32)
        highest = int(self._labels.max())
        if self.class_names is not None and highest >= len(self.class_names):
            raise DataError(
                f"{ann_file}: has the class number {highest}, but there are {len(self.class_names)} classes"
            )
        self.num_classes = None if self.class_names is None else len(self.class_names)

    @cached_property
    def labels(self) -> Array:
        """(n,) int32: class numbers; -1: unknown."""
        return self._labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """Return video ``index`` with ``joints``: float32, missing joints are 0 with score 0."""
        index = range(len(self))[index]
        video, file = int(self.rows[index]), self.file
        points, scores = file.dense(video)
        label = int(self._labels[index])
        height, width = (int(side) for side in file.sizes[video])
        fps = float(file.fps[video])
        return Sample(
            index=index,
            key=str(file.names[video]),
            label=label if label >= 0 else None,
            class_names=self.class_names,
            total_frames=int(file.frames[video]),
            fps=fps if np.isfinite(fps) else None,
            joints=Joints(points.astype(np.float32, copy=False), scores.astype(np.float32, copy=False)),
            geometry=Geometry.whole((height, width)) if file.units == "pixels" else None,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Leave the joints out: a worker process maps the file itself."""
        return {name: value for name, value in vars(self).items() if name != "file"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.file = read_skeletons(self.ann_file)

    def fingerprint(self) -> str:
        """Return a hash of names, lengths, labels and class names."""
        head = repr((len(self), self.class_names, [str(self.file.names[row]) for row in self.rows]))
        return fingerprint(head, self.file.frames[self.rows], self._labels)
