"""Metrics of temporal localization."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.metrics import functional as F
from vid_localization.metrics.segments import ANetMetric, RecallatTopK
from vid_localization.names import result_name
from vid_localization.overlaps import hull_iou, iou_and_coverage
from vid_localization.records import Boundaries
from vid_localization.results import read_results
from vidcore.records import Segments
from vidcore.sample import Sample


def temporal_iou_matrix(case: Any, row: Any) -> dict[str, Any]:
    candidates, targets = row.inputs["candidates"], row.inputs["targets"]
    iou, coverage = iou_and_coverage(candidates, targets[:, None] if candidates.ndim == 2 else targets)
    found = {"iou": iou.astype(np.float32), "covered_share": coverage.astype(np.float32)}
    return {name: found[name] for name in row.outputs}


def interpolated_average_precision(case: Any, row: Any) -> dict[str, Any]:
    return {"ap": F.interpolated_average_precision(row.inputs["precision"], row.inputs["recall"])}


def _joined(tables: Sequence[Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Concatenate the rows of all videos, and return the video number of each row."""
    filled = [np.asarray(t, np.float64) for t in tables if len(t)]
    return np.concatenate(filled or [np.zeros((0, 3))]), np.repeat(np.arange(len(tables)), [len(t) for t in tables])


def average_recall_at_proposals(case: Any, row: Any) -> dict[str, Any]:
    videos, settings = row.settings["videos"], row.settings
    proposals, of = _joined([row.inputs[f"proposals_{v}"] for v in videos])
    truth, truth_of = _joined([row.inputs[f"truth_{v}"] for v in videos])
    limit = settings["max_average_proposals"]
    curve = F.average_recall(
        proposals[:, :2], proposals[:, 2], of, truth[:, :2], truth_of, len(videos), settings["thresholds"], limit
    )
    return {
        "recall": curve.recall,
        "average_recall": curve.average,
        "proposals_per_video": curve.proposals,
        "auc": curve.auc,
    }


def _average_precision(predictions: list[tuple[str, Any, float]], truth: dict[str, Any], thresholds: Any) -> Any:
    """Return the average precision of (video, segment, score) of a single class."""
    videos = sorted({*truth, *(p[0] for p in predictions)})
    rows, of = _joined([truth.get(v, []) for v in videos])
    return F.detection_average_precision(
        np.array([p[1] for p in predictions]).reshape(-1, 2),
        np.array([p[2] for p in predictions]),
        np.zeros(len(predictions), np.int64),
        np.array([videos.index(p[0]) for p in predictions], np.int64),
        rows[:, :2],
        np.zeros(len(rows), np.int64),
        of,
        thresholds,
    )[:, 0]


def detection_ap_temporal(case: Any, row: Any) -> dict[str, Any]:
    predictions = [(video, segment, score) for video, _, *segment, score in row.inputs["predictions"]]
    return {"ap": _average_precision(predictions, row.inputs["truth"], row.settings["thresholds"])}


def detected(listed: Sequence[Any], class_names: Sequence[str]) -> Segments:
    return Segments(
        np.array([d.segment for d in listed]).reshape(-1, 2),
        np.array([class_names.index(d.label) for d in listed], np.int64),
        np.array([d.score for d in listed]),
    )


def activitynet_detection(case: Any, row: Any) -> dict[str, Any]:
    thresholds = row.settings["thresholds"]
    if "truth_file" not in row.inputs:
        truth: dict[str, Any] = {}
        for t in row.inputs["truth"]:
            truth.setdefault(t["video-id"], []).append((t["t-start"], t["t-end"]))
        found = [(p["video-id"], (p["t-start"], p["t-end"]), p["score"]) for p in row.inputs["predictions"]]
        return {"ap": _average_precision(found, truth, thresholds)}
    file = case.path(row.inputs["truth_file"])
    dataset = ActivityNetDataset(file, bad_segments="keep")
    results = read_results(case.path(row.inputs["result_file"]), dataset.class_names)
    metric = ANetMetric("mAP", thresholds)
    for target in dataset:
        listed = results.get(result_name(target.key), [])
        metric.update([target.replace(segments=detected(listed, dataset.class_names))], [target])
    known = {result_name(t.key) for t in dataset}
    for name in results.keys() - known:  # a video without annotations
        empty = Sample(path=name, segments=Segments(np.zeros((0, 2)), np.zeros(0, np.int64)))
        metric.update([Sample(segments=detected(results[name], dataset.class_names))], [empty])
    scores, ap = metric.compute(), metric.average_precision()
    written = [a["label"] for v in json.loads(file.read_text()).values() for a in v["annotations"]]
    order = list(dict.fromkeys(written))  # classes in order of appearance
    return {
        "mAP": [value for name, value in scores.items() if name.startswith("mAP@")],
        "average_mAP": scores["average_mAP"],
        "classes": order,
        "ap": ap[:, [dataset.class_names.index(name) for name in order]],
    }


def activitynet_proposals(case: Any, row: Any) -> dict[str, Any]:
    kept = {"max_avg_proposals": int, "temporal_iou_thresholds": tuple}
    metric = ANetMetric(
        row.settings.get("metric_type", "AR@AN"),
        **{k: f(row.settings[k]) for k, f in kept.items() if k in row.settings},
    )
    if metric.metric_type == "TEM":
        tables = [
            Sample(index=i, key=v, extra={"boundaries": Boundaries(t)}) for i, (v, t) in enumerate(row.inputs.items())
        ]
        metric.update(tables, tables)
        with tempfile.TemporaryDirectory() as folder:
            (tables,) = metric.write(Path(folder))
            files = sorted(tables.iterdir())
            return {"report": metric.compute(), "files": [f.name for f in files], "text": files[0].read_text()}
    listed = {p["video_name"]: p["proposal_list"] for p in row.inputs["predictions"]}
    if (without := row.inputs.get("predictions_without")) is not None:
        listed[without] = []
    for i, (video, true) in enumerate(row.inputs["truth"].items()):
        truth = Sample(index=i, key=video, segments=Segments(np.array([a["segment"] for a in true])))
        proposals = listed.get(video, [])
        found = Segments(
            np.array([p["segment"] for p in proposals]).reshape(-1, 2), scores=np.array([p["score"] for p in proposals])
        )
        metric.update([truth.replace(segments=found)], [truth])
    with tempfile.TemporaryDirectory() as folder:
        (path,) = metric.write(Path(folder))
        written = json.loads(path.read_text())
    return {
        "report": metric.compute(),
        "dump_keys": sorted(written),
        "dump_version": written["version"],
        "dump_videos": sorted(written["results"]),
        "dump_same_proposals": all(written["results"][result_name(v)] == rows for v, rows in listed.items()),
    }


def grounding_recall(case: Any, row: Any) -> dict[str, Any]:
    if "pairs" in row.inputs:
        pairs = np.array(row.inputs["pairs"])
        return {"iou": hull_iou(pairs[:, 0], pairs[:, 1]).tolist()}
    metric = RecallatTopK(row.settings["k"], row.settings["threshold"])
    for i, query in enumerate(row.inputs["queries"]):
        rows = np.array(query["predictions"]).reshape(-1, 3)
        target = Sample(index=i, segments=Segments(np.array([query["gt"]])))
        metric.update([target.replace(segments=Segments(rows[:, :2], scores=rows[:, 2]))], [target])
    return {"report": metric.compute()}


OPS = {
    f"metrics.{f.__name__}": f
    for f in (
        activitynet_detection,
        activitynet_proposals,
        average_recall_at_proposals,
        detection_ap_temporal,
        grounding_recall,
        interpolated_average_precision,
        temporal_iou_matrix,
    )
}
