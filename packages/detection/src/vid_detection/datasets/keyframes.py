"""What the datasets have in common: key frames of videos, with boxes, actions and proposals, in flat arrays."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from attrs import field, frozen

from vid_detection.ava import Key, frame_key
from vid_detection.records import TrueBoxes
from vidcore.data.index import Ragged, fingerprint, select_rows
from vidcore.errors import DataError, some
from vidcore.protocols import Dataset
from vidcore.records import Boxes
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["KeyFrameDataset", "KeyFrames", "MissingProposals"]

MissingProposals = Literal["none", "whole", "truth"]
"""What a key frame without proposals gets: no box, one box around the whole picture, or its true boxes."""


@frozen(eq=False)
class KeyFrames:
    """Annotated key frames."""

    keys: list[Key]
    """Video and time, as annotated, of each."""
    frames: Array
    """(n,) int64 index of the key frame of each box, ascending."""
    boxes: Array
    """(n, 4) float64 fractions of the picture."""
    persons: Array
    """(n,) int64 identity in the video; -1 if it is not known."""
    actions: Ragged[np.int64]
    """Classes of each box, from 0."""
    notes: list[str] = field(factory=list)
    """What is odd about the file, one sentence each."""


def group_rows(
    frames: Array, boxes: Array, persons: Array, actions: Array
) -> tuple[Array, Array, Array, Ragged[np.int64], int]:
    """Join rows with one action each: those of one key frame, box and person are one box.

    Args:
        frames, persons: (n,).
        boxes: (n, 4).
        actions: (n,) classes, -1 for a person without action.

    Returns:
        Frames, boxes, persons and classes of the joined boxes, by frame and in order of their first rows; and the
        number of rows that repeat another one.
    """
    columns = (persons, *boxes.T, frames)
    order = np.lexsort(columns)
    begins = np.zeros(len(order), bool)
    begins[:1] = True
    for column in columns:
        begins[1:] |= np.diff(column[order]) != 0
    group = np.empty(len(order), np.int64)
    group[order] = np.cumsum(begins) - 1
    first = order[begins]  # the sort is stable: the first row of each
    place = np.empty(len(first), np.int64)
    by_frame = np.lexsort((first, frames[first]))
    place[by_frame] = np.arange(len(first))
    first, stride = first[by_frame], int(actions.max(initial=0)) + 2
    pairs = np.unique(place[group] * stride + actions + 1)
    repeated = len(group) - len(pairs)
    pairs = pairs[pairs % stride > 0]
    offsets = np.concatenate(([0], np.cumsum(np.bincount(pairs // stride, minlength=len(first)))))
    return frames[first], boxes[first], persons[first], Ragged(pairs % stride - 1, offsets), repeated


class KeyFrameDataset(Dataset):
    """Base of datasets of key frames.

    Sample i has the path of its video, ``boxes`` with the truth (multi-hot ``labels`` without background, ``track``),
    ``proposals``, ``extra["truth"]`` for metrics, and in ``meta`` what ``SampleAVAFrames`` needs. ``key`` is
    ``video,0902``.
    """

    def __init__(
        self,
        known: KeyFrames,
        class_names: tuple[str, ...],
        paths: dict[str, str | None],
        proposals: Sequence[Array | None] | None,
        missing_proposals: MissingProposals,
        indices: int | Sequence[int] | None,
    ) -> None:
        if missing_proposals not in ("none", "whole", "truth"):
            raise DataError(f"missing_proposals must be none, whole or truth, got {missing_proposals!r}")
        self.class_names = class_names
        self.num_classes = len(class_names)
        self.known, self._paths, self._proposals = known, paths, proposals
        self.missing_proposals = missing_proposals
        self._folders = {video for video, path in paths.items() if path is not None and not os.path.isfile(path)}
        rows = np.array([i for i, (video, _) in enumerate(known.keys) if paths[video] is not None], np.int64)
        self._without_file = len(known.keys) - len(rows)
        self._rows = rows if indices is None else rows[select_rows(indices, len(rows))]
        self._starts = np.searchsorted(known.frames, np.arange(len(known.keys) + 1))

    def __len__(self) -> int:
        return len(self._rows)

    @cached_property
    def labels(self) -> Ragged[np.int64]:
        """The classes of the boxes of each key frame, without repetitions."""
        return Ragged.from_rows((np.unique(np.concatenate(self._actions(i))).tolist() for i in self._rows), np.int64)

    def _actions(self, frame: int) -> list[Array]:
        start, end = self._starts[frame], self._starts[frame + 1]
        return [np.zeros(0, np.int64), *(self.known.actions[i] for i in range(start, end))]

    def sample_paths(self) -> Iterator[str]:
        """Return the video of each key frame."""
        for i in self._rows:
            yield str(self._paths[self.known.keys[i][0]])

    def fingerprint(self) -> str:
        """Return a hash of the names, the key frames and the boxes."""
        head = repr((type(self).__name__, self.class_names, [self.known.keys[i] for i in self._rows]))
        return fingerprint(head, self.known.frames, self.known.boxes, self.known.actions.values)

    def notes(self) -> list[str]:
        """Return what is odd about the files, and which videos are missing."""
        notes = list(self.known.notes)
        if self._without_file:
            lost = sorted(video for video, path in self._paths.items() if path is None)
            notes.append(
                f"{len(lost)} of {len(self._paths)} videos have no file ({some(lost, 3)}): "
                f"{self._without_file} of {len(self.known.keys)} key frames are left out"
            )
        empty = int(np.count_nonzero(np.diff(self._starts)[self._rows] == 0))
        if empty:
            notes.append(f"in {empty} of {len(self)} key frames nobody is annotated")
        if self.missing_proposals != "none":
            without = sum(self._proposals is None or self._proposals[i] is None for i in self._rows)
            if without:
                what = {"whole": "the whole picture", "truth": "their true boxes"}[self.missing_proposals]
                notes.append(f"{without} of {len(self)} key frames have no proposals, and take {what} instead")
        return notes

    def facts(self, video: str, time: float) -> dict[str, Any]:
        """Return the fields of samples that depend on the video: ``fps``, ``meta``, names of frames, and others."""
        raise NotImplementedError

    def __getitem__(self, index: int) -> Sample:
        """Return key frame ``index``."""
        index = range(len(self))[index]
        frame = int(self._rows[index])
        video, time = self.known.keys[frame]
        rows = slice(self._starts[frame], self._starts[frame + 1])
        boxes, persons = self.known.boxes[rows], self.known.persons[rows]
        labels = np.zeros((len(boxes), len(self.class_names or ())), np.float32)
        for i, actions in enumerate(self._actions(frame)[1:]):
            labels[i, actions] = 1
        track = None if (persons < 0).any() else persons
        return Sample(
            index=index,
            key=frame_key(video, time),
            path=self._paths[video],
            boxes=Boxes(boxes.astype(np.float32), labels, track=track, relative=True),
            proposals=self._proposed(frame, boxes),
            class_names=self.class_names,
            extra={"truth": TrueBoxes(boxes, labels > 0, track)},
            **self.facts(video, time),
        )

    def _proposed(self, frame: int, truth: Array) -> Boxes | None:
        found = None if self._proposals is None else self._proposals[frame]
        if found is None and self.missing_proposals == "truth":
            found = np.concatenate((truth, np.ones((len(truth), 1))), 1)
        elif found is None and self.missing_proposals == "whole":
            found = np.array([[0.0, 0.0, 1.0, 1.0, 1.0]])
        elif found is None and self._proposals is not None:
            found = np.zeros((0, 5))
        if found is None:
            return None
        scores = None if np.isnan(found[:, 4]).any() else found[:, 4].astype(np.float32)
        return Boxes(found[:, :4].astype(np.float32), scores=scores, relative=True)
