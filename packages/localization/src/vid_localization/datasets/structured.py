"""Untrimmed videos with proposals, in the published list format of SSN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.datasets.annotations import Annotations
from vid_localization.datasets.checks import SegmentPolicy
from vid_localization.overlaps import iou_and_coverage, regression_targets
from vidcore.data.classes import MOST_CLASSES, read_classes
from vidcore.data.fields import whole_number
from vidcore.data.index import Ragged, StringTable
from vidcore.data.text import read_text
from vidcore.errors import AnnotationError, DataError
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.typing import Array
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["SSNDataset", "read_proposal_list"]


class SSNDataset(ActivityNetDataset):
    """Videos, or folders of frames, with true segments and proposals.

    ``ann_file`` is a file for ``ActivityNetDataset``, or the published list (``.txt``): a block per video with name,
    number of frames, frames per unit of time, number of true segments, these as ``label start end``, number of
    proposals, these as ``label best_iou overlap_self start end``. Labels start at 1. Starts and ends are frames, or
    fractions of the video if none in the file is above 1. Overlaps are not read but computed from the segments.
    Proposals of another network come from ``LoadProposalSegments`` in the pipeline instead.

    Args:
        ann_file: see above.
        data_root: folder of the videos, or of the folders of frames.
        suffix: suffix of the videos; empty for folders.
        classes: class names by number, or a file with one name per line; default: numbers for a published list.
        subset, bad_segments, indices: see ``ActivityNetDataset``.
        filter_gt: drop videos without a true segment, for training.
        filename_tmpl, start_index, modality: names, first number and kind of the frames in folders.

    Raises:
        AnnotationError: an entry is not valid; the message names file and line, or file and video.
        DataError: the file does not exist or has no videos.
    """

    def __init__(
        self,
        ann_file: Path,
        data_root: Path | None = None,
        suffix: str = "",
        classes: Path | list[str] | None = None,
        subset: str | None = None,
        bad_segments: SegmentPolicy = "repair",
        indices: int | Sequence[int] | None = None,
        filter_gt: bool = False,
        filename_tmpl: str = "img_{:05}.jpg",
        start_index: int = 1,
        modality: str = "RGB",
    ) -> None:
        if ann_file.suffix.lower() == ".txt":
            self.data_root, self.suffix = data_root, suffix
            self._use(read_proposal_list(ann_file, read_classes(classes), bad_segments))
        else:
            super().__init__(ann_file, data_root, suffix, classes, subset, bad_segments)
        if filter_gt:
            starts = self.annotations.offsets
            true = [(self.annotations.labels[a:b] >= 0).any() for a, b in pairwise(starts)]
            if not any(true):
                raise DataError(f"{ann_file}: no video has a true segment")
            self._use(self.annotations.take(np.flatnonzero(true).tolist()))
        self.filter_gt = filter_gt
        if indices is not None:
            self._use(self.annotations.take(indices))
        self.filename_tmpl, self.start_index, self.modality = filename_tmpl, start_index, modality

    def __getitem__(self, index: int) -> Sample:
        """Return video ``index`` like ``ActivityNetDataset``, with proposals and the names of frames."""
        sample = super().__getitem__(index)
        is_file = Path(sample.path or "").suffix.lower() in VIDEO_SUFFIXES
        return sample.replace(
            proposals=sample.proposals or Segments(np.zeros((0, 2))),
            start_index=0 if is_file else self.start_index,
            filename_tmpl=self.filename_tmpl,
            modality=self.modality,
        )

    def notes(self) -> list[str]:
        """Return the notes of ``ActivityNetDataset``, and for training the constants of ``regression_constants``."""
        found = super().notes()
        if self.filter_gt:
            with suppress(DataError):
                rows = [[round(number, 4) for number in row] for row in self.regression_constants()]
                found.append(f"regression is normalised by model.reg_normalize_constants = {rows}")
        return found

    def regression_constants(self, positive_iou_threshold: float = 0.7) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of shift and growth of all complete proposals: ``reg_normalize_constants``.

        Raises:
            DataError: no proposal is complete.
        """
        found = [np.zeros((0, 2))]
        for sample in map(self.__getitem__, range(len(self))):
            assert sample.segments is not None
            assert isinstance(sample.proposals, Segments)
            true, listed = sample.segments.spans, sample.proposals.spans
            proposals = listed[np.diff(listed)[:, 0] > 0]
            if len(true) and len(proposals):
                iou, _ = iou_and_coverage(proposals[:, None], true)
                good = iou.max(1) >= positive_iou_threshold
                found.append(regression_targets(proposals[good], true[iou.argmax(1)[good]]))
        targets = np.concatenate(found)
        if not len(targets):
            raise DataError(f"no proposal overlaps a true segment by {positive_iou_threshold}")
        return targets.mean(0).tolist(), targets.std(0).tolist()


def read_proposal_list(
    file: Path, class_names: tuple[str, ...] | None = None, policy: SegmentPolicy = "repair"
) -> Annotations:
    """Read a published list, see ``SSNDataset``; default class names: the numbers from 1.

    Raises like ``SSNDataset``.
    """
    lines = enumerate(read_text(file, "proposal list").splitlines(), 1)
    blocks = list(_blocks(file, [(n, line.split()) for n, line in lines if line.strip()]))
    if not blocks:
        raise DataError(f"proposal list {file} has no videos")
    fractions = all(rows[:, -2:].max(initial=0) <= 1 for *_, true, found in blocks for rows in (true, found))
    names, facts, segments, labels, proposals = [], [], [], [], []
    most = MOST_CLASSES if class_names is None else len(class_names)
    for name, frames, rate, true, found in blocks:
        seconds = frames / rate
        scale = seconds if fractions else 1 / rate
        names.append(name)
        facts.append((seconds, frames if frames > 1 else math.nan, math.nan, math.nan))
        segments.append(true[:, 1:] * scale)
        where = f"{file}: {name}: label"
        labels.append(np.array([whole_number(where, number, 1, most) - 1 for number in true[:, 0].tolist()], np.int32))
        spans = (found[:, 3:] * scale / seconds).clip(0, 1)
        proposals.append(np.column_stack((spans, np.ones(len(spans)))).ravel().tolist())
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise AnnotationError(f"{file}: {twice}: is listed twice")
    numbers = np.concatenate(labels)
    if class_names is None:
        class_names = tuple(str(n + 1) for n in range(int(numbers.max(initial=0)) + 1))
    annotations = Annotations(
        StringTable.from_strings(names),
        np.array(facts),
        np.concatenate(segments),
        numbers,
        np.cumsum([0, *map(len, labels)]),
        class_names,
        Ragged.from_rows(proposals, np.float64),
    )
    return annotations.validated(file, policy)


Block = tuple[str, float, float, Array, Array]
"""Name, frames, rate, true segments (n, 3), proposals (m, 5)."""


def _blocks(file: Path, lines: Sequence[tuple[int, list[str]]]) -> Iterator[Block]:
    end = (lines[-1][0] + 1 if lines else 1, ["the end"])
    rest = iter([*lines, end])

    def numbers(count: int) -> Array:
        line, words = next(rest, end)
        try:
            row = np.array([float(word) for word in words])
        except ValueError:
            row = np.zeros(0)
        if len(row) != count or not np.isfinite(row).all():
            raise AnnotationError(f"{file}:{line}: must be {count} numbers, got {' '.join(words)!r}")
        return row

    def table(columns: int) -> Array:
        rows = [numbers(columns) for _ in range(whole_number(f"{file}: {name}: number of rows", numbers(1).item()))]
        return np.array(rows).reshape(-1, columns)

    for line, words in rest:
        if words == ["the end"]:
            return
        if words[0] != "#":
            raise AnnotationError(f"{file}:{line}: a video must start with '# number', got {' '.join(words)!r}")
        name = " ".join(next(rest)[1])
        frames, rate = float(numbers(1)[0]), float(numbers(1)[0])
        if frames <= 0 or rate <= 0:
            raise AnnotationError(f"{file}:{line}: {name}: number of frames and frame rate must be above 0")
        yield name, frames, rate, table(3), table(5)
