"""Frame mAP and video mAP of tubes: MultiSports (Li et al. 2021, arXiv:2105.07404), JHMDB and UCF101-24."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from attrs import evolve

from vid_detection.act import TubeTruth, read_tubes
from vid_detection.ava import Key
from vid_detection.metrics.collect import CollectedBoxes, place_of_classes
from vid_detection.overlaps import iou
from vid_detection.records import TrueBoxes
from vid_detection.tubes import Linking, Tubes, link, tube_overlaps
from vidcore.errors import DataError, UserError
from vidcore.files import write_csv
from vidcore.matching import average_precision, class_average_precision
from vidcore.typing import Array

__all__ = [
    "RANGES",
    "ACTMetric",
    "MultiSportsMetric",
    "evaluated_labels",
    "frame_average_precision",
    "trapezoid_precision",
    "video_average_precision",
]

RANGES: Mapping[str, tuple[float, ...]] = {
    "0.05:0.45": tuple(np.arange(5, 46, 5) / 100),
    "0.10:0.90": tuple(np.arange(1, 10) / 10),
    "0.50:0.95": tuple(np.arange(50, 96, 5) / 100),
}
"""Thresholds that video mAP is averaged over."""
UNRELIABLE = (
    "aerobic kick jump",
    "aerobic off axis jump",
    "aerobic butterfly jump",
    "aerobic balance turn",
    "basketball save",
    "basketball jump ball",
)
"""Classes of MultiSports that are not evaluated."""


def trapezoid_precision(correct: Array, truths: int, excused: Array | None = None) -> Array:
    """Area under the straight lines between the points of recall and precision, from (0, 1) on, as ACT measures it.

    Arguments and result as in ``vidcore.matching.average_precision``; ``excused`` must be None.
    """
    assert excused is None, "ACT excuses no predictions"
    if not truths or not correct.shape[1]:
        return np.zeros(len(correct))
    precision = correct.cumsum(1) / np.arange(1, correct.shape[1] + 1)
    before = np.concatenate((np.ones((len(correct), 1)), precision[:, :-1]), 1)
    out: Array = ((precision + before) / 2 * correct).sum(1) / truths
    return out


def frame_average_precision(
    boxes: Array,
    frames: Array,
    scores: Array,
    labels: Array,
    truth: Array,
    truth_frames: Array,
    truth_labels: Array,
    thresholds: Sequence[float],
    num_classes: int,
    act: bool = False,
) -> Array:
    """Average precision of boxes in frames; each true box is matched once, with the best detection that is free.

    Args:
        boxes, scores, labels: (n, 4), (n,), (n,) detections.
        frames: (n,) numbers of frames, over all videos.
        truth, truth_labels, truth_frames: (m, 4), (m,), (m,).
        thresholds: least overlaps.
        num_classes: number of classes.
        act: by the rules of ACT (last pixel part of a box, ``trapezoid_precision``) instead of those of MultiSports.

    Returns:
        (thresholds, classes) float64; nan for classes without truth.
    """
    return class_average_precision(
        scores,
        labels,
        frames,
        truth_labels,
        truth_frames,
        lambda p, t: iou(boxes[p], truth[t], act),
        thresholds,
        num_classes,
        area=trapezoid_precision if act else average_precision,
    )


def video_average_precision(
    found: Tubes, truth: Tubes, thresholds: Sequence[float], num_classes: int, act: bool = False
) -> Array:
    """Average precision of tubes: (thresholds, classes) float64, nan for classes without truth.

    Args:
        found, truth: tubes.
        thresholds: least overlaps (``tube_overlaps``).
        num_classes: number of classes.
        act: by the rules of ACT instead of those of MultiSports.
    """
    return class_average_precision(
        found.scores,
        found.labels,
        found.videos,
        truth.labels,
        truth.videos,
        lambda p, t: tube_overlaps(found, truth, p, t, act),
        thresholds,
        num_classes,
        area=trapezoid_precision if act else average_precision,
    )


def evaluated_labels(ap: Array, names: Sequence[str], left_out: Sequence[str] = UNRELIABLE) -> list[int]:
    """Return the classes that have truth and are not left out, by class number.

    Args:
        ap: (..., classes) average precision, nan for classes without truth.
        names: of the classes.
        left_out: names that are not evaluated.
    """
    plain = [name.replace("_", " ") for name in names]
    return [c for c in range(len(names)) if plain[c] not in left_out and not np.isnan(ap[..., c]).all()]


class TubeMetric(CollectedBoxes):
    """Base of metrics of tubes.

    A sample is a frame; its key is ``video,number of the frame``. Boxes of predictions are fractions of the frame,
    whose size is in ``meta["size"]`` of the annotated sample (height, width), as the datasets of tubes set it. A true
    tube has the boxes of one person and class in a video, unless ``ann_file`` gives them.

    Args:
        ann_file: pickle with the true tubes (``vid_detection.act``); default: those of the samples. With the file,
            frames and videos without samples count as missed.
        subset: ``test`` or ``train`` of this file.
        split: of this file, from 1.
        frame_threshold: least overlap in frame mAP.
        video_thresholds: least overlaps in video mAP.
        min_length: shorter predicted tubes are dropped, in frames.
        score_thr: least score of a detection.
    """

    act: ClassVar[bool]
    """Whether the rules of ACT apply instead of those of MultiSports."""
    left_out: ClassVar[tuple[str, ...]] = ()
    ranges: ClassVar[tuple[str, ...]]
    """Keys of ``RANGES``."""

    def __init__(
        self,
        ann_file: Path | None,
        subset: str,
        split: int,
        frame_threshold: float,
        video_thresholds: Sequence[float],
        linking: Linking,
        score_thr: float,
    ) -> None:
        super().__init__()
        for threshold in (frame_threshold, *video_thresholds):
            if not 0 < threshold <= 1:
                raise UserError(f"{type(self).__name__}: thresholds must lie between 0 and 1, got {threshold}")
        self.listed = None if ann_file is None else read_tubes(ann_file, subset, split)
        self.frame_threshold = frame_threshold
        self.video_thresholds = tuple(video_thresholds)
        self.linking = linking
        self.score_thr = score_thr
        self._table: list[dict[str, Any]] = []

    def _truth(self) -> TubeTruth:
        """Return the true tubes, of all videos that have samples or are in ``ann_file``."""
        if self.listed is not None:
            return self.listed
        names = self._names()
        keys = self.keys()
        videos = list(dict.fromkeys(video for video, _ in keys))
        number = {video: i for i, video in enumerate(videos)}
        sizes = np.zeros((len(videos), 2), np.int64)
        counts = np.zeros(len(videos), np.int64)
        parts = []
        for (video, frame), (_, target) in zip(keys, self.pairs(), strict=True):
            truth, size = target.extra["truth"], target.meta.get("size")
            assert isinstance(truth, TrueBoxes)
            if size is None:
                raise DataError(f"{type(self).__name__} needs the size of the frames of {video}, in meta['size']")
            if truth.track is None:
                raise DataError(f"{type(self).__name__} needs the person of each box; {target.key} has none")
            v = number[video]
            sizes[v], counts[v] = size, max(counts[v], int(frame))
            row, label = np.nonzero(np.asarray(truth.labels))
            pixels = np.asarray(truth.xyxy, np.float64)[row] * np.tile(sizes[v][::-1], 2)
            place = np.stack((np.full(len(row), v), label, truth.track[row], np.full(len(row), int(frame))), 1)
            parts.append(np.concatenate((place, pixels), 1))
        rows = np.concatenate(parts)
        rows = rows[np.lexsort((rows[:, 3], rows[:, 2], rows[:, 1], rows[:, 0]))]
        starts = np.flatnonzero((np.diff(rows[:, :3], axis=0, prepend=-1) != 0).any(1))
        kinds = rows[starts].astype(np.int64)
        tubes = Tubes(
            kinds[:, 0],
            kinds[:, 1],
            np.ones(len(starts)),
            np.append(starts, len(rows)),
            rows[:, 3].astype(np.int64),
            rows[:, 4:],
            np.ones(len(rows)),
        )
        classes = names or tuple(str(k) for k in range(int(tubes.labels.max(initial=0)) + 1))
        return TubeTruth(classes, tuple(videos), tubes, sizes, counts)

    def _detections(self, truth: TubeTruth, keys: Sequence[Key]) -> tuple[Array, Array, Array, Array, Array]:
        """Return boxes in pixels, frames, scores, labels and videos of the detections."""
        found = self.found()
        names = self._names()
        scores = found.scores
        if names and names != truth.class_names:
            scores = place_of_classes(scores, names, truth.class_names)
        number = {video: i for i, video in enumerate(truth.videos)}
        for video, _ in keys:
            if video not in number:
                raise DataError(f"{type(self).__name__}: the video {video} of a sample is not in the annotations")
        videos = np.array([number[video] for video, _ in keys], np.int64)[found.frames]
        frames = np.array([int(frame) for _, frame in keys], np.int64)[found.frames]
        if self.act:
            row, label = np.nonzero(scores > self.score_thr)
        else:
            label = scores.argmax(1) if scores.shape[1] else np.zeros(0, np.int64)
            row = np.flatnonzero(scores[np.arange(len(scores)), label] > self.score_thr)
            label = label[row]
        sides = truth.sizes[videos[row]][:, [1, 0, 1, 0]]
        return found.boxes[row] * sides, frames[row], scores[row, label].astype(np.float64), label, videos[row]

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        self._notes = []
        keys = self.keys()
        truth = self._truth()
        if not len(truth.tubes):
            raise DataError(f"{type(self).__name__}: no video has a true tube")
        boxes, frames, scores, labels, videos = self._detections(truth, keys)
        stride = int(max(frames.max(initial=0), truth.tubes.frames.max(initial=0))) + 1
        lengths, classes = truth.tubes.lengths, len(truth.class_names)
        of_frames = frame_average_precision(
            boxes,
            videos * stride + frames,
            scores,
            labels,
            truth.tubes.boxes,
            np.repeat(truth.tubes.videos, lengths) * stride + truth.tubes.frames,
            np.repeat(truth.tubes.labels, lengths),
            [self.frame_threshold],
            classes,
            self.act,
        )
        self._tubes = link(boxes, frames, scores, labels, videos, self.linking)
        self._truth_of_tubes = truth
        thresholds = sorted({*self.video_thresholds, *(t for name in self.ranges for t in RANGES[name])})
        of_videos = video_average_precision(self._tubes, truth.tubes, thresholds, classes, self.act)
        chosen = evaluated_labels(of_frames, truth.class_names, self.left_out)
        if not chosen:
            raise DataError(f"{type(self).__name__}: no class with true tubes is evaluated")

        def mean(*wanted: float) -> float:
            return float(of_videos[[thresholds.index(t) for t in wanted]][:, chosen].mean())

        result = {f"frame_mAP@{self.frame_threshold:g}": float(of_frames[0, chosen].mean())}
        result |= {f"video_mAP@{t:g}": mean(t) for t in self.video_thresholds}
        result |= {f"video_mAP@{name}": mean(*RANGES[name]) for name in self.ranges}
        self._describe(truth, chosen, len(keys))
        boxes_of = np.bincount(np.repeat(truth.tubes.labels, lengths), minlength=classes)
        tubes_of = np.bincount(truth.tubes.labels, minlength=classes)
        at = self.video_thresholds[-1] if self.video_thresholds else None
        self._table = [
            {
                "class": truth.class_names[c],
                "frame AP": round(float(of_frames[0, c]), 4),
                **({} if at is None else {f"video AP@{at:g}": round(float(of_videos[thresholds.index(at), c]), 4)}),
                "tubes": int(tubes_of[c]),
                "boxes": int(boxes_of[c]),
                "predicted tubes": int(np.count_nonzero(self._tubes.labels == c)),
            }
            for c in sorted(chosen, key=lambda c: of_frames[0, c])
        ]
        return result

    def _describe(self, truth: TubeTruth, chosen: Sequence[int], samples: int) -> None:
        rules = "ACT" if self.act else "MultiSports"
        scored = "a class for every score" if self.act else "the best class of each box"
        self._notes.append(
            f"mAP is the mean over {len(chosen)} of {len(truth.class_names)} classes by the rules of {rules}: "
            f"{scored}; tubes of less than {self.linking.min_length} frames are dropped"
        )
        if skipped := [n for n in truth.class_names if n.replace("_", " ") in self.left_out]:
            self._notes.append(f"not evaluated, as in the official program: {', '.join(skipped)}")
        if self.linking.last_score:
            self._notes.append("every tube has the score of the last detection: their order is arbitrary")
        self._notes += truth.problems()

    def table(self) -> Sequence[Mapping[str, Any]]:
        """Return average precision and counts of each class, the worst first."""
        return self._table

    def write(self, folder: Path) -> list[Path]:
        """Write ``tubes.csv`` with the boxes of the predicted tubes, and ``classes.csv``."""
        tubes, truth = self._tubes, self._truth_of_tubes
        header = ["tube", "video", "class", "score", "frame", "x1", "y1", "x2", "y2", "box_score"]
        of = np.repeat(np.arange(len(tubes)), tubes.lengths).tolist()
        rows = (
            [
                i,
                truth.videos[int(tubes.videos[i])],
                truth.class_names[int(tubes.labels[i])],
                f"{tubes.scores[i]:.6f}",
                int(tubes.frames[k]),
                *(f"{v:.2f}" for v in tubes.boxes[k]),
                f"{tubes.box_scores[k]:.6f}",
            ]
            for k, i in enumerate(of)
        )
        files = [folder / "tubes.csv", folder / "classes.csv"]
        write_csv(files[0], [header, *rows])
        table = self.table()
        write_csv(files[1], [list(table[0]) if table else ["class"], *(list(row.values()) for row in table)])
        return files


class MultiSportsMetric(TubeMetric):
    """Frame mAP, and video mAP of tubes that are linked from the detections, by the rules of MultiSports.

    Each box has its best class. Average precision is the area under the highest precision at each recall or above. 6
    of the 66 classes are not evaluated. Scores: ``frame_mAP@0.5``, ``video_mAP@0.2``, and means over ranges of
    thresholds, ``video_mAP@0.10:0.90``. Other arguments are those of ``TubeMetric``.

    Args:
        ann_file: ``multisports_GT.pkl``; default: the truth of the samples.
        subset: ``test`` (validation) or ``train``.
        frame_threshold: least overlap in frame mAP.
        video_thresholds: least overlaps in video mAP.
        min_length: shorter predicted tubes are dropped, in frames.
        score_thr: least score of a detection.
        last_score: as MMAction2 publishes it, every tube gets the score of the last detection.
    """

    act = False
    left_out = UNRELIABLE
    ranges = tuple(RANGES)

    def __init__(
        self,
        ann_file: Path | None = None,
        subset: str = "test",
        frame_threshold: float = 0.5,
        video_thresholds: Sequence[float] = (0.2, 0.5),
        min_length: int = 15,
        score_thr: float = 0.0,
        last_score: bool = False,
    ) -> None:
        linking = Linking(min_length=min_length, last_score=last_score)
        super().__init__(ann_file, subset, 1, frame_threshold, video_thresholds, linking, score_thr)


class ACTMetric(TubeMetric):
    """Frame mAP and video mAP by the rules of ACT, which JHMDB and UCF101-24 are scored by.

    Every score of a box is a detection. The last pixel is part of a box, and the last frame part of a tube. Average
    precision is the area under the straight lines between the points of recall and precision. Tubes that overlap a
    better one by more than 0.3 are dropped. Scores: ``frame_mAP@0.5``, ``video_mAP@0.2``, ``video_mAP@0.5``,
    ``video_mAP@0.75`` and their mean over ``0.50:0.95``. Other arguments are those of ``TubeMetric``.

    Args:
        ann_file: ``JHMDB-GT.pkl`` or ``UCF101v2-GT.pkl``; default: the truth of the samples.
        subset: ``test`` or ``train``.
        split: from 1.
        frame_threshold: least overlap in frame mAP.
        video_thresholds: least overlaps in video mAP.
        min_length: shorter predicted tubes are dropped, in frames.
        score_thr: least score of a detection.
    """

    act = True
    ranges = ("0.50:0.95",)

    def __init__(
        self,
        ann_file: Path | None = None,
        subset: str = "test",
        split: int = 1,
        frame_threshold: float = 0.5,
        video_thresholds: Sequence[float] = (0.2, 0.5, 0.75),
        min_length: int = 15,
        score_thr: float = 0.01,
    ) -> None:
        linking = evolve(Linking(min_length=min_length), tube_suppression=0.3, pixels=True)
        super().__init__(ann_file, subset, split, frame_threshold, video_thresholds, linking, score_thr)
