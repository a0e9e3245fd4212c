"""Accuracies and average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from vid_recognition.metrics.functional import (
    get_weighted_score,
    label_ranks,
    mean_average_precision,
    mean_class_accuracy,
    mmit_mean_average_precision,
)
from vid_recognition.records import StreamScores
from vidcore.errors import DataError, UserError, nearest
from vidcore.metrics import Columns
from vidcore.predictions import require_finite
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["AccMetric"]

Score = Literal["top_k_accuracy", "mean_class_accuracy", "mean_average_precision", "mmit_mean_average_precision"]
SINGLE_LABEL = ("top_k_accuracy", "mean_class_accuracy")


class AccMetric(Columns):
    """Top-k accuracy, mean class accuracy and mean average precision.

    Keys are ``acc/top1``, ``acc/mean1``, ``acc/mean_average_precision``,
    ``acc/mmit_mean_average_precision``. Predictions with scores of several streams
    (``extra["streams"]``) are scored per stream (``acc/rgb_top1``); the streams ``rgb`` and
    ``pose`` also as weighted sums, 1:1, 2:1 and 1:2 (``acc/RGBPose_1:1_top1``).

    Args:
        metric_list: scores to compute. Accuracies need ``label``; average precision also accepts
            multi-hot ``labels``.
        topk: the k of top-k accuracy; limited to the number of classes, with a note.
        prefix: first part of the keys.
    """

    def __init__(
        self,
        metric_list: Sequence[Score] = ("top_k_accuracy", "mean_class_accuracy"),
        topk: Sequence[int] = (1, 5),
        prefix: str = "acc",
    ) -> None:
        super().__init__()
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
