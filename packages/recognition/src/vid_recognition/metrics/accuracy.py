"""Accuracies and average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast, get_args

import numpy as np

from vid_recognition.metrics.functional import (
    best_thresholds,
    f1_scores,
    get_weighted_score,
    label_ranks,
    mean_average_precision,
    mean_class_accuracy,
    mmit_mean_average_precision,
)
from vid_recognition.metrics.thresholds import ThresholdMetric
from vid_recognition.records import StreamScores
from vidcore.data.thresholds import THRESHOLDS
from vidcore.errors import DataError, UserError, nearest
from vidcore.predictions import require_finite
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["AccMetric"]

Score = Literal["top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision", "f1"]
SINGLE_LABEL = ("top_k_accuracy", "mean_class_accuracy")
MULTI_LABEL = ("mean_average_precision", "f1")


class AccMetric(ThresholdMetric):
    """Top-k accuracy, mean class accuracy, mean average precision and F1.

    Keys are ``acc/top1``, ``acc/mean1``, ``acc/mean_average_precision``, ``acc/mmit_mean_average_precision``,
    ``acc/f1`` (mean over classes) and ``acc/micro_f1``. Predictions with scores of several streams
    (``extra["streams"]``) are scored per stream (``acc/rgb_top1``); the streams ``rgb`` and
    ``pose`` also as weighted sums, 1:1, 2:1 and 1:2 (``acc/RGBPose_1:1_top1``).

    With F1, an evaluation during training chooses the best threshold for each class, which is kept with the weights.
    F1 is computed at the thresholds kept with the evaluated weights, or else at 0.5; a note says which.

    Args:
        metric_list: scores to compute; default: both accuracies, or with ``multi_class`` average precision and F1.
            Accuracies need ``label``; the others also accept multi-hot ``labels``.
        topk: the k of top-k accuracy; limited to the number of classes, with a note.
        prefix: first part of the keys.
        multi_class: samples have any number of classes.
    """

    def __init__(
        self,
        metric_list: Sequence[Score] | None = None,
        topk: Sequence[int] = (1, 5),
        prefix: str = "acc",
        multi_class: bool = False,
    ) -> None:
        super().__init__()
        if metric_list is None:
            metric_list = cast(Sequence[Score], MULTI_LABEL if multi_class else SINGLE_LABEL)
        for name in metric_list:
            if name not in get_args(Score):
                known = get_args(Score)
                raise UserError(f"AccMetric has no score {name!r}{nearest(name, known)}; it has {', '.join(known)}")
        if not metric_list or any(k < 1 for k in topk):
            raise UserError(
                f"AccMetric needs a non-empty metric_list and topk of at least 1, got {metric_list}, {topk}"
            )
        self.metric_list = tuple(metric_list)
        self.topk = tuple(topk)
        self.prefix = prefix

    def check_labels(self, labels: Literal["single", "multi"]) -> str:
        if labels == "multi" and (single := [name for name in self.metric_list if name in SINGLE_LABEL]):
            raise UserError(f"metric_list has {single[0]}, which needs one label for each sample")
        return " and ".join(self.metric_list) + (
            ", with a threshold for each class" if "f1" in self.metric_list else ""
        )

    def keep(self) -> dict[str, Any]:
        """Return the thresholds with the highest F1 scores, with multi-hot labels and one stream."""
        columns = self.columns()
        if "labels" not in columns or "scores " not in columns or "f1" not in self.metric_list:
            return {}
        return {THRESHOLDS: best_thresholds(columns["scores "], columns["labels"]).tolist()}

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Add predictions with ``scores`` (or ``extra["streams"]``) and targets with ``label`` or ``labels``."""
        if not targets:
            return
        require_finite(predictions, targets, type(self).__name__)
        rows = [_streams(p) for p in predictions]
        streams = {name: np.stack([row[name] for row in rows]).astype(np.float32) for name in rows[0]}
        if streams.keys() == {"rgb", "pose"}:
            pair = [streams["rgb"], streams["pose"]]
            streams |= {f"RGBPose_{r}:{p}": get_weighted_score(pair, [r, p]) for r, p in ((1, 1), (2, 1), (1, 2))}
        classes = next(iter(streams.values())).shape[1]
        columns: dict[str, Array] = {"classes": np.full(len(targets), classes)}
        single = [name for name in self.metric_list if name in SINGLE_LABEL]
        if all(t.labels is not None for t in targets):
            if single:
                raise DataError(
                    f"{single[0]} needs one label per sample; for multi-label data use mean_average_precision"
                )
            columns["labels"] = np.stack([np.asarray(t.labels, np.float32) for t in targets])
        elif all(t.label is not None for t in targets):
            columns["label"] = np.array([t.label for t in targets], np.int64)
        else:
            raise DataError("AccMetric needs a label for each sample; some samples of this dataset have none")
        for name, scores in streams.items():
            if len(single) < len(self.metric_list):
                columns[f"scores {name}"] = scores
            if single:  # accuracies need no more: a hundredth of the memory
                columns[f"rank {name}"] = label_ranks(scores, columns["label"])
                columns[f"first {name}"] = np.argmax(scores, axis=1)
        self.add(targets, **columns)

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        columns = self.columns()
        self._notes = []
        classes = int(columns["classes"].max())
        out: dict[str, float] = {}
        for stream in dict.fromkeys(key.partition(" ")[2] for key in columns if " " in key):
            head = f"{self.prefix}/{stream}_" if stream else f"{self.prefix}/"
            for name in self.metric_list:
                out |= {head + key: value for key, value in self._score(name, stream, columns, classes).items()}
        if "top_k_accuracy" in self.metric_list:
            self._notes += [
                f"{self.prefix}/top{k}: k is {classes}, the number of classes" for k in self.topk if k > classes
            ]
        if "f1" in self.metric_list:
            self._notes.append(f"{self.prefix}/f1: {self.how()}")
        if beyond := np.count_nonzero(columns.get("label", np.zeros(0)) >= classes):
            self._notes.append(f"{beyond} samples have a class above the {classes} scored ones and count as wrong")
        return out

    def _score(self, name: str, stream: str, columns: dict[str, Array], classes: int) -> dict[str, float]:
        if name in SINGLE_LABEL:
            if name == "mean_class_accuracy":
                return {"mean1": mean_class_accuracy(columns[f"first {stream}"], columns["label"])}
            return {f"top{k}": float(np.mean(columns[f"rank {stream}"] < min(k, classes))) for k in self.topk}
        scores = columns[f"scores {stream}"]
        labels = columns["labels"] if "labels" in columns else columns["label"][:, None] == np.arange(classes)
        if labels.shape != scores.shape:
            raise DataError(f"labels have {labels.shape[1]} classes, but scores have {scores.shape[1]}")
        if name == "f1":
            return dict(zip(("f1", "micro_f1"), f1_scores(self.decide(scores), labels), strict=True))
        function = mean_average_precision if name == "mean_average_precision" else mmit_mean_average_precision
        return {name: function(scores, labels)}


def _streams(predicted: Sample) -> Mapping[str, Array]:
    """Return scores by stream; a single stream named "" if the model has no streams."""
    streams = predicted.extra.get("streams")
    if isinstance(streams, StreamScores):
        return streams.by_name
    if predicted.scores is None:
        raise DataError("AccMetric needs predictions with scores of each class")
    return {"": predicted.scores}
