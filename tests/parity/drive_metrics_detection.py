"""Metrics of detection."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from attrs import evolve

from vid_detection.act import TubeTruth, read_tubes
from vid_detection.ava import frame_key, read_excluded, read_table
from vid_detection.classes import names_by_id, read_label_map
from vid_detection.metrics.ava import PUBLISHED, AVAMetric, ava_average_precision, ava_means, join_tables
from vid_detection.metrics.tubes import (
    RANGES,
    MultiSportsMetric,
    evaluated_labels,
    frame_average_precision,
    video_average_precision,
)
from vid_detection.overlaps import intersections, ioa, iou
from vid_detection.records import TrueBoxes
from vid_detection.tubes import Linking, Tubes, link, spatial_overlaps, suppress, temporal_overlaps, tube_overlaps
from vidcore.records import Boxes
from vidcore.sample import Sample


def box_overlaps(case: Any, row: Any) -> dict[str, Any]:
    a, b = row.inputs["a"][:, None], row.inputs["b"]
    return {"intersection": intersections(a, b), "iou": iou(a, b), "ioa": ioa(a, b)}


def ava_frame_map(case: Any, row: Any) -> dict[str, Any]:
    excluded, given = row.settings.get("excluded_frames"), row.settings
    classes = given.get("custom_classes") or read_label_map(case.path(row.inputs["labels"]))
    truth = read_table(case.path(row.inputs["truth"]))
    detections = read_table(case.path(row.inputs["detections"]), "score")
    found, true, keys = join_tables(detections, truth, classes)
    left_out = read_excluded(case.path(excluded)) if excluded else frozenset()
    rules = evolve(PUBLISHED, empty_frames=not given.get("ignore_frames_without_truth", True))
    scores = ava_average_precision(found, true, np.array([k in left_out for k in keys]), max(classes), rules)
    counted = np.flatnonzero(scores.detections).tolist()
    return {
        "report": ava_means(scores.ap, range(max(classes))),
        "ap_by_class": {str(c + 1): float(scores.ap[c]) for c in counted},
    }


def ava_metric(case: Any, row: Any) -> dict[str, Any]:
    given, custom = row.inputs, row.settings["custom_classes"]
    labels, truth, excluded = (case.path(given[name]) for name in ("labels", "truth", "excluded"))
    names = names_by_id(read_label_map(labels))
    names = tuple(names[k - 1] for k in custom) if custom else names
    metric = AVAMetric(truth, excluded, labels, row.settings["score_threshold"], custom, rules="published")
    nothing = TrueBoxes(np.zeros((0, 4)), np.zeros((0, len(names)), bool))
    for i, (video, second) in enumerate(given["frames"]):
        boxes = Boxes(given[f"boxes_{i}"], scores=given[f"scores_{i}"][:, 1:], relative=True)
        target = Sample(index=i, key=frame_key(video, second), class_names=names, extra={"truth": nothing})
        metric.update([target.replace(boxes=boxes)], [target])
    scores = metric.compute()
    with tempfile.TemporaryDirectory() as folder:
        text = metric.write(Path(folder))[0].read_text()
    return {"report": {"mAP/overall": scores.pop("mAP"), **scores}, "csv": text}


def truth_of(row: Any, folder: str) -> TubeTruth:
    """Write the true tubes as the official file has them, and read it."""
    given = row.inputs
    tubes: dict[str, dict[int, list[Any]]] = {video: {} for video in given["videos"]}
    for i, place in enumerate(given["truth_tubes"]):
        tubes[place["video"]].setdefault(place["label"], []).append(given[f"truth_tube_{i}"])
    file = Path(folder, "truth.pkl")
    file.write_bytes(
        pickle.dumps(
            {
                "labels": given["labels"],
                "gttubes": tubes,
                "nframes": given["frames_per_video"],
                "resolution": {video: tuple(size) for video, size in given["resolution_hw"].items()},
                "train_videos": [[]],
                "test_videos": [given["videos"]],
            }
        )
    )
    return read_tubes(file)


def rows_of(tubes: Tubes, i: int) -> Any:
    part = slice(tubes.offsets[i], tubes.offsets[i + 1])
    return np.concatenate((tubes.frames[part, None], tubes.boxes[part], tubes.box_scores[part, None]), 1).astype(
        np.float32
    )


def tube(rows: Any) -> Tubes:
    one = np.zeros(1, np.int64)
    ends = np.array([0, len(rows)])
    return Tubes(one, one, np.ones(1), ends, rows[:, 0].astype(np.int64), np.float64(rows[:, 1:]), np.ones(len(rows)))


def tube_overlap(row: Any) -> dict[str, Any]:
    zero = np.zeros(1, np.int64)
    a, b, far, single = (tube(row.inputs[name]) for name in ("a", "b", "far", "single"))
    found = {
        "ab": tube_overlaps(a, b, zero, zero),
        "spatial_only": spatial_overlaps(a, b, zero, zero),
        "temporal_only": temporal_overlaps(a, b, zero, zero),
        "a_far": tube_overlaps(a, far, zero, zero),
        "single_single": tube_overlaps(single, single, zero, zero),
    }
    return {name: float(value[0]) for name, value in found.items()}


def spatiotemporal_map(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    if "a" in row.inputs:
        return tube_overlap(row)
    if "boxes" in row.inputs:
        boxes = row.inputs["boxes"]
        kept, scores = suppress(
            boxes[:, :4], boxes[:, 4], np.zeros(len(boxes), np.int64), given["overlap"], given["top_k"]
        )
        return {"boxes": np.concatenate((boxes[kept, :4], scores[:, None]), 1)}
    with tempfile.TemporaryDirectory() as folder:
        truth = truth_of(row, folder)
    detections = row.inputs["detections"]
    videos, frames, labels = detections[:, :3].astype(np.int64).T
    boxes, scores = detections[:, 4:], detections[:, 3]
    classes = len(truth.class_names)
    if "score_of_a_linked_box" not in given:
        lengths, stride = truth.tubes.lengths, 10_000
        ap = frame_average_precision(
            boxes,
            videos * stride + frames,
            scores,
            labels,
            truth.tubes.boxes,
            np.repeat(truth.tubes.videos, lengths) * stride + truth.tubes.frames,
            np.repeat(truth.tubes.labels, lengths),
            [given["threshold"]],
            classes,
        )
        return percent(ap, truth)
    linking = Linking(min_length=given.get("min_length", 15), last_score=given["score_of_a_linked_box"] != "its own")
    tubes = link(boxes, frames, scores, labels, videos, linking)
    if "min_length" in given:
        listed = [
            {
                "label": int(tubes.labels[i]),
                "video": truth.videos[int(tubes.videos[i])],
                "score": float(tubes.scores[i]),
                "length": int(tubes.lengths[i]),
            }
            for i in range(len(tubes))
        ]
        return {"tubes": listed, **{f"tube_{i}": rows_of(tubes, i) for i in range(len(tubes))}}
    if "threshold" in given:
        return percent(video_average_precision(tubes, truth.tubes, [given["threshold"]], classes), truth)
    report = {}
    for name, thresholds in RANGES.items():
        ap = video_average_precision(tubes, truth.tubes, thresholds, classes)
        report[f"v_map_{name}"] = round(100 * float(ap[:, evaluated_labels(ap, truth.class_names)].mean()), 4)
    return {"report": report}


def percent(ap: Any, truth: TubeTruth) -> dict[str, Any]:
    chosen = ap[0, evaluated_labels(ap, truth.class_names)]
    return {"mAP_percent": 100 * float(chosen.mean()), "ap_of_evaluated_labels": chosen.tolist()}


def multisports_metric(case: Any, row: Any) -> dict[str, Any]:
    given, settings = row.inputs, row.settings
    with tempfile.TemporaryDirectory() as folder:
        truth_of(row, folder)
        metric = MultiSportsMetric(
            Path(folder, "truth.pkl"),
            frame_threshold=settings["frame_threshold"],
            video_thresholds=settings["video_thresholds"],
            min_length=settings["min_length"],
            last_score=settings["score_of_a_linked_box"] != "its own",
        )
    names = tuple(given["labels"])
    nothing = TrueBoxes(np.zeros((0, 4)), np.zeros((0, len(names)), bool))
    start = 0
    for i, (video, frame, count) in enumerate(given["frames"]):
        part = slice(start, start + count)
        start += count
        target = Sample(index=i, key=frame_key(video, frame), class_names=names, extra={"truth": nothing})
        boxes = Boxes(given["boxes"][part], scores=given["scores"][part], relative=True)
        metric.update([target.replace(boxes=boxes)], [target])
    scores = {name: round(100 * value, 4) for name, value in metric.compute().items()}
    report = {"mAP/frameAP": scores[f"frame_mAP@{settings['frame_threshold']:g}"]}
    report |= {f"mAP/v_map@{t}": scores[f"video_mAP@{t:g}"] for t in settings["video_thresholds"]}
    return {"report": report | {f"mAP/v_map_{name}": scores[f"video_mAP@{name}"] for name in RANGES}}


OPS = {
    f"metrics.{f.__name__}": f
    for f in (ava_frame_map, ava_metric, box_overlaps, multisports_metric, spatiotemporal_map)
}
