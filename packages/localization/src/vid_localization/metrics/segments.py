"""Metrics of proposals and detections in untrimmed videos, and of grounded sentences."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np

from vid_localization.metrics.collect import CollectedSegments, FlatSegments
from vid_localization.metrics.functional import (
    average_recall,
    detection_average_precision,
    grounding_recall,
    touching,
)
from vid_localization.names import safe_path, video_name
from vid_localization.records import Boundaries
from vid_localization.results import write_boundaries, write_results
from vidcore.errors import DataError, UserError
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["ANetMetric", "RecallatTopK", "THUMOSMetric"]

ANET_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
AT = (1, 5, 10, 100)
"""Numbers of proposals per video at which recall is reported."""


def _check_thresholds(metric: str, thresholds: Sequence[float]) -> None:
    if not thresholds or not all(0 < t <= 1 for t in thresholds):
        raise UserError(f"{metric}: thresholds must lie between 0 and 1, got {list(thresholds)}")


def _threshold_label(threshold: float) -> str:
    """Two digits, or all if there are more, so that scores of different thresholds have different names."""
    return f"{threshold:.2f}" if abs(threshold - round(threshold, 2)) < 1e-9 else f"{threshold:g}"


class DetectionMetric(CollectedSegments):
    """Base of metrics with mean average precision over classes.

    A wrong prediction that touches an ambiguous segment (``extra["ambiguous"]`` of the target) is ignored, as in the
    official evaluation of THUMOS'14.
    """

    temporal_iou_thresholds: tuple[float, ...]

    def average_precision(self) -> Array:
        """Return the average precision of every class: (thresholds, classes), nan for classes without true segments."""
        predicted, true, _ = self.flat()
        if (predicted.labels < 0).any() or (true.labels < 0).any():
            raise DataError(f"{type(self).__name__}: mAP needs a class for every segment, predicted and true")
        ap = detection_average_precision(
            predicted.segments,
            predicted.scores,
            predicted.labels,
            predicted.videos,
            true.segments,
            true.labels,
            true.videos,
            self.temporal_iou_thresholds,
            excused=self._excused(predicted),
        )
        occurring = np.flatnonzero(~np.isnan(ap).all(0))
        if not len(occurring):
            raise DataError(f"{type(self).__name__}: no video has a true segment")
        if unseen := int(np.count_nonzero(~np.isin(predicted.labels, occurring))):
            self._notes.append(f"mAP ignores {unseen} predicted segments of classes without true segments")
        return ap

    def _excused(self, predicted: FlatSegments) -> Array | None:
        listed = (true.extra.get("ambiguous") for _, true in self.pairs())
        found = [r.spans if isinstance(r, Segments) else np.zeros((0, 2)) for r in listed]
        videos = np.repeat(np.arange(len(found)), [len(rows) for rows in found])
        return touching(predicted.segments, predicted.videos, np.concatenate(found), videos) if len(videos) else None

    def write(self, folder: Path) -> list[Path]:
        """Write ``results.json`` in ActivityNet's submission format."""
        path = folder / "results.json"
        write_results(path, [pair[0] for pair in self.pairs()], self.class_names)
        return [path]

    def mean_average_precision(self) -> dict[str, float]:
        """Return ``average_mAP``, and ``mAP@`` each threshold."""
        self._notes = []
        means = np.nanmean(self.average_precision(), 1)
        scores = {
            f"mAP@{_threshold_label(t)}": float(m) for t, m in zip(self.temporal_iou_thresholds, means, strict=True)
        }
        return {"average_mAP": float(means.mean()), **scores}


class ANetMetric(DetectionMetric):
    """ActivityNet's metrics of proposals and detections.

    ``AR@AN``: ``auc`` (percent), the area under average recall over the average number of proposals, and ``AR@1``,
    ``AR@5``, ``AR@10``, ``AR@100``. ``mAP``: ``average_mAP`` and ``mAP@0.50`` to ``mAP@0.95`` of predictions with
    classes. ``TEM``: no score; ``write`` writes the boundary probabilities of BSN's first stage
    (``extra["boundaries"]``), one ``.csv`` per video.

    Args:
        metric_type: one of these.
        temporal_iou_thresholds: least intersection over union.
        max_avg_proposals: proposals per video at the end of the curve. ``AR@k`` is recall at k percent of it.
    """

    def __init__(
        self,
        metric_type: Literal["AR@AN", "mAP", "TEM"] = "AR@AN",
        temporal_iou_thresholds: Sequence[float] = ANET_THRESHOLDS,
        max_avg_proposals: int = 100,
    ) -> None:
        super().__init__()
        if metric_type not in ("AR@AN", "mAP", "TEM"):
            raise UserError(f"metric_type of ANetMetric must be AR@AN, mAP or TEM, got {metric_type!r}")
        _check_thresholds("ANetMetric", temporal_iou_thresholds)
        self.metric_type = metric_type
        self.temporal_iou_thresholds = tuple(temporal_iou_thresholds)
        self.max_avg_proposals = max_avg_proposals

    def check(self, predicted: Sample, target: Sample) -> None:
        """Raise ``DataError`` unless both have ``segments``, or for TEM unless there are boundary probabilities."""
        if self.metric_type != "TEM":
            super().check(predicted, target)
        elif "boundaries" not in predicted.extra:
            raise DataError("ANetMetric: TEM needs boundary probabilities, which the model TEM predicts")

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        self._notes = []
        if self.metric_type == "TEM":
            return {}
        if self.metric_type == "mAP":
            return self.mean_average_precision()
        predicted, true, videos = self.flat()
        if not len(true.segments):
            raise DataError("ANetMetric: no video has a true segment")
        curve = average_recall(
            predicted.segments,
            predicted.scores,
            predicted.videos,
            true.segments,
            true.videos,
            videos,
            self.temporal_iou_thresholds,
            self.max_avg_proposals,
        )
        without = videos - len(np.unique(predicted.videos))
        if without:
            self._notes.append(f"{without} of {videos} videos have no proposals; their segments count as missed")
        if self.max_avg_proposals != 100:
            self._notes.append(f"AR@k is at k percent of {self.max_avg_proposals} proposals per video")
        return {"auc": curve.auc} | {f"AR@{k}": float(curve.average[k - 1]) for k in AT}

    def write(self, folder: Path) -> list[Path]:
        """Write ``results.json``, or for TEM a table per video."""
        if self.metric_type != "TEM":
            return super().write(folder)
        tables = folder / "tem_results"
        tables.mkdir(exist_ok=True)
        for sample, _ in self.pairs():
            boundaries = cast(Boundaries, sample.extra["boundaries"])
            write_boundaries(safe_path(tables, video_name(sample), ".csv"), boundaries.table)
        return [tables]


class THUMOSMetric(DetectionMetric):
    """Mean average precision of THUMOS'14: ``mAP@0.30`` to ``mAP@0.70`` and ``average_mAP``.

    Wrong predictions that touch a segment labelled ``Ambiguous`` are ignored, see ``ActivityNetDataset``.

    Args:
        temporal_iou_thresholds: least intersection over union.
    """

    def __init__(self, temporal_iou_thresholds: Sequence[float] = (0.3, 0.4, 0.5, 0.6, 0.7)) -> None:
        super().__init__()
        _check_thresholds("THUMOSMetric", temporal_iou_thresholds)
        self.temporal_iou_thresholds = tuple(temporal_iou_thresholds)

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        return self.mean_average_precision()


class RecallatTopK(CollectedSegments):
    """Fraction of sentences for which one of the first k predicted segments is a hit: ``Recall@Top1_IoU=0.5``.

    A hit overlaps the true segment, measured as intersection over the hull of both, by more than the threshold.

    Args:
        topK_list: values of k.
        threshold: see above.
    """

    def __init__(self, topK_list: Sequence[int] = (1, 5), threshold: float = 0.5) -> None:
        super().__init__()
        if not topK_list or min(topK_list) < 1:
            raise UserError(f"RecallatTopK needs k of at least 1, got {list(topK_list)}")
        self.topK_list = tuple(topK_list)
        self.threshold = threshold

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        predicted, true, queries = self.flat()
        if len(true.segments) != queries or not np.array_equal(true.videos, np.arange(queries)):
            raise DataError("RecallatTopK needs exactly one true segment for every sentence")
        best_first = np.lexsort((-predicted.scores, predicted.videos))
        recall: Array = grounding_recall(
            predicted.segments[best_first],
            predicted.videos[best_first],
            true.segments,
            self.topK_list,
            self.threshold,
        )
        return {f"Recall@Top{k}_IoU={self.threshold}": float(r) for k, r in zip(self.topK_list, recall, strict=True)}
