"""Metrics of recognition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from vid_recognition.metrics import functional as F
from vid_recognition.metrics.accuracy import AccMetric
from vid_recognition.metrics.confusion import ConfusionMatrix
from vid_recognition.models.averaging import average_clips
from vid_recognition.records import StreamScores
from vidcore.sample import Sample


def topk_accuracy(case: Any, row: Any) -> dict[str, Any]:
    return {"accuracy": np.array(F.top_k_accuracy(row.inputs["scores"], row.inputs["labels"], row.settings["k"]))}


def topk_classes(case: Any, row: Any) -> dict[str, Any]:
    scores, labels = row.inputs["scores"], row.inputs["labels"]
    found = F.top_k_classes(scores, labels, row.settings["k"], row.settings["mode"])
    occurring = [c for c, _ in F.top_k_classes(scores, labels, scores.shape[1])]  # class numbers, not positions
    return {"classes": [sorted(occurring).index(c) for c, _ in found], "accuracy": [a for _, a in found]}


def mean_class_accuracy(case: Any, row: Any) -> dict[str, Any]:
    return {"mean_class_accuracy": F.mean_class_accuracy(row.inputs["scores"], row.inputs["labels"])}


def confusion_matrix(case: Any, row: Any) -> dict[str, Any]:
    return {"matrix": F.confusion_matrix(row.inputs["pred"], row.inputs["real"], row.settings.get("normalize"))}


def confusion_matrix_metric(case: Any, row: Any) -> dict[str, Any]:
    metric = ConfusionMatrix(row.settings.get("num_classes"))
    if "scores" in row.inputs:
        predictions = [Sample(index=i, scores=s) for i, s in enumerate(row.inputs["scores"])]
    else:
        predictions = [Sample(index=i, label=int(p)) for i, p in enumerate(row.inputs["pred"])]
    metric.update(predictions, [Sample(index=i, label=int(c)) for i, c in enumerate(row.inputs["labels"])])
    return {"matrix": metric.matrix(row.settings.get("normalize"))}


def mean_average_precision(case: Any, row: Any) -> dict[str, Any]:
    return {"mAP": F.mean_average_precision(row.inputs["scores"], row.inputs["labels"])}


def mean_average_precision_per_sample(case: Any, row: Any) -> dict[str, Any]:
    return {"mAP": F.mmit_mean_average_precision(row.inputs["scores"], row.inputs["labels"])}


def precision_recall_curve(case: Any, row: Any) -> dict[str, Any]:
    precision, recall, thresholds = F.precision_recall_curve(row.inputs["scores"], row.inputs["labels"])
    return {"precision": precision, "recall": recall, "thresholds": thresholds}


def softmax(case: Any, row: Any) -> dict[str, Any]:
    return {"y": F.softmax(row.inputs["x"], **row.settings)}


def weighted_score(case: Any, row: Any) -> dict[str, Any]:
    given = row.inputs
    return {"scores": F.get_weighted_score(given.get("scores", list(given.values())), row.settings["weights"])}


def clip_averaging(case: Any, row: Any) -> dict[str, Any]:
    scores, settings = torch.from_numpy(row.inputs["scores"]), row.settings
    views = settings["num_segs"] if "num_segs" in settings else len(scores) // settings["num_samples"]
    averaged = average_clips(scores, views, settings["average_clips"] or "none")
    if "pred_scores" not in row.outputs:
        return {"scores": averaged.numpy()}
    return {"pred_scores": averaged.numpy(), "pred_labels": averaged.argmax(-1).numpy()}


def _targets(labels: Sequence[Any]) -> list[Sample]:
    labels = np.asarray(labels)
    return [Sample(index=i, **({"label": int(v)} if labels.ndim == 1 else {"labels": v})) for i, v in enumerate(labels)]


def accuracy_metric(case: Any, row: Any) -> dict[str, Any]:
    settings, inputs = row.settings, dict(row.inputs)
    metric = AccMetric(settings["entries"], settings.get("topk", (1, 5)), settings.get("prefix", "acc"))
    targets = _targets(inputs.pop("labels"))
    if list(inputs) == ["scores"]:
        predictions = [Sample(scores=s) for s in inputs["scores"]]
    else:
        streams = [dict(zip(inputs, rows, strict=True)) for rows in zip(*inputs.values(), strict=True)]
        predictions = [Sample(extra={"streams": StreamScores(np.stack(list(s.values())), tuple(s))}) for s in streams]
    size = settings.get("dataset_size", len(targets))
    padded = [t.replace(index=t.index % size) for t in targets]  # a distributed sampler repeats the first samples
    metric.update(predictions, padded)
    return {"report": metric.compute()}


OPS = {
    f"metrics.{f.__name__}": f
    for f in (
        accuracy_metric,
        clip_averaging,
        confusion_matrix,
        confusion_matrix_metric,
        mean_average_precision,
        mean_average_precision_per_sample,
        mean_class_accuracy,
        precision_recall_curve,
        softmax,
        topk_accuracy,
        topk_classes,
        weighted_score,
    )
}
