"""The dataset of skeletons."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from vid_skeleton.files import read_skeletons
from vid_skeleton.published import THRESHOLDS, read_published
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

    A ``.npz`` file is mapped into memory: workers share it, and its size does not matter. A published pickle is read
    once, without running anything in it, into a few flat arrays.

    Args:
        ann_file: ``.npz`` file of skeletons, such as ``vidcore skeletons`` writes, or a published pickle (``.pkl``).
        split: name of a split in the file; default: all videos.
        classes: class names, or a file with one per line; default: those in the file.
        valid_ratio: keep videos of a published pickle in which at least this part of the frames has a person whose box
            has the score ``box_thr``, and only such people in its separate files of joints; default, or 0: keep all.
        box_thr: 0.5, 0.6, 0.7, 0.8 or 0.9.
        data_root: folder that the paths of videos in a published pickle are relative to.
        kp_root: folder of the separate files of joints that the pickle of Kinetics refers to.

    Raises:
        DataError: the file has no such split, or no video is left.
    """

    def __init__(
        self,
        ann_file: Path,
        split: str | None = None,
        classes: Path | Sequence[str] | None = None,
        valid_ratio: float | None = None,
        box_thr: float = 0.5,
        data_root: Path | None = None,
        kp_root: Path | None = None,
    ) -> None:
        if valid_ratio is not None and not 0 <= valid_ratio <= 1:
            raise DataError(f"valid_ratio must be from 0 to 1, got {valid_ratio}")
        if box_thr not in THRESHOLDS:
            raise DataError(f"box_thr must be one of {', '.join(map(str, THRESHOLDS))}, got {box_thr}")
        if box_thr != 0.5 and not valid_ratio:
            raise DataError("box_thr needs valid_ratio: together they choose videos and people")
        self.ann_file, self.data_root, self.kp_root = ann_file, data_root, kp_root
        self.published = read_published(ann_file) if ann_file.suffix in (".pkl", ".pickle") else None
        self.file = read_skeletons(ann_file) if self.published is None else self.published.skeletons
        if self.published is None and (data_root or kp_root):
            raise DataError(f"{ann_file}: data_root and kp_root are for published pickles; this file has all joints")
        self.threshold = box_thr if valid_ratio else None
        if split is not None and split not in self.file.splits:
            found = ", ".join(self.file.splits) or "none"
            raise DataError(f"{ann_file}: has no split {split!r}, it has {found}{nearest(split, self.file.splits)}")
        self.rows = np.arange(len(self.file)) if split is None else np.asarray(self.file.splits[split])
        if not len(self.rows):
            raise DataError(f"{ann_file}: {'has no videos' if split is None else f'the split {split!r} is empty'}")
        if valid_ratio:
            self.rows = self._valid(valid_ratio, box_thr)
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

    def _valid(self, ratio: float, box_thr: float) -> Array:
        if self.published is None or self.published.valid is None:
            raise DataError(f"{self.ann_file}: valid_ratio needs a published pickle whose records have 'valid'")
        counts = self.published.valid[self.rows, THRESHOLDS.index(box_thr)]
        kept = self.rows[counts / np.maximum(self.file.frames[self.rows], 1) >= ratio]
        if not len(kept):
            raise DataError(f"{self.ann_file}: no video has a person in {ratio:.0%} of its frames (valid_ratio)")
        return kept

    @cached_property
    def labels(self) -> Array:
        """(n,) int32: class numbers; -1: unknown."""
        return self._labels

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Sample:
        """Return video ``index`` with ``joints``: float32, missing joints are 0 with score 0.

        Videos of Kinetics have the record ``detections`` in ``extra`` instead, for ``DecompressPose``.
        """
        index = range(len(self))[index]
        video, file = int(self.rows[index]), self.file
        label = int(self._labels[index])
        height, width = (int(side) for side in file.sizes[video])
        fps = float(file.fps[video])
        sample = Sample(
            index=index,
            key=str(file.names[video]),
            label=label if label >= 0 else None,
            class_names=self.class_names,
            total_frames=int(file.frames[video]),
            fps=fps if np.isfinite(fps) else None,
            geometry=Geometry.whole((height, width)) if file.units == "pixels" and height and width else None,
        )
        if self.published is not None:
            sample = sample.replace(path=self._path(video))
            found = self.published.detections(video, self.kp_root, self.threshold)
            if found is not None:
                return sample.replace(extra={"detections": found})
        points, scores = file.dense(video)
        return sample.replace(
            joints=Joints(points.astype(np.float32, copy=False), scores.astype(np.float32, copy=False))
        )

    def _path(self, video: int) -> str:
        assert self.published is not None
        name = self.published.paths[video]
        return name if self.data_root is None else os.path.join(self.data_root, name)

    def notes(self) -> Sequence[str]:
        """Return what is odd about the annotation file."""
        return () if self.published is None else self.published.notes

    def __getstate__(self) -> dict[str, Any]:
        """Leave mapped joints out: a worker process maps the file itself."""
        mapped = self.published is None
        return {name: value for name, value in vars(self).items() if not (mapped and name == "file")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self.published is None:
            self.file = read_skeletons(self.ann_file)

    def fingerprint(self) -> str:
        """Return a hash of names, lengths, labels and class names."""
        head = repr((len(self), self.class_names, [str(self.file.names[row]) for row in self.rows]))
        return fingerprint(head, self.file.frames[self.rows], self._labels)
