"""Annotation files of detection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vid_detection.datasets.ava import AVADataset, AVAKineticsDataset
from vidcore.sample import Sample

PASSED = (
    "custom_classes",
    "filename_tmpl",
    "fps",
    "multilabel",
    "num_max_proposals",
    "person_det_score_thr",
    "start_index",
    "timestamp_end",
    "timestamp_start",
)


def spatiotemporal_table(case: Any, row: Any) -> dict[str, Any]:
    given = row.settings
    kinetics = "table_kinetics" in row.inputs["file"]
    root, exclude, proposals = (
        given.get("data_prefix", {}).get("img"),
        given.get("exclude"),
        row.inputs.get("proposals"),
    )
    dataset = (AVAKineticsDataset if kinetics else AVADataset)(
        case.path(row.inputs["file"]),
        Path(root) if root else None,
        case.path(exclude) if exclude else None,
        case.path(row.inputs["labels"]),
        case.path(proposals) if proposals else None,
        missing_proposals="whole" if proposals else "none",
        **{"start_index": 0 if kinetics else 1, **{name: given[name] for name in PASSED if name in given}},
    )
    frames = given.get("use_frames", True)
    samples = [_published(dataset, s, frames, given.get("multilabel", True), root) for s in dataset]
    return {"length": len(dataset), "samples": samples}


def _published(dataset: AVADataset, s: Sample, frames: bool, multilabel: bool, root: str | None) -> dict[str, Any]:
    video = s.key.rpartition(",")[0]
    labels = np.pad(s.boxes.labels, ((0, 0), (1, 0)))  # the class of the background comes first
    found = {
        "frame_dir" if frames else "filename": s.path,
        "video_id": video,
        "timestamp": int(s.meta["timestamp"]),
        "img_key": s.key,
        "shot_info": list(s.meta["shot_info"]) if frames else None,
        "fps": s.fps,
        "modality": s.modality,
        "start_index": s.start_index,
        "filename_tmpl": s.filename_tmpl,
        "timestamp_start": s.meta["timestamp_start"],
        "timestamp_end": s.meta["timestamp_end"],
        "gt_bboxes": s.extra["truth"].xyxy.tolist(),
        "gt_labels": labels.tolist() if multilabel else labels.argmax(1)[:, None].tolist(),
        "entity_ids": s.boxes.track.tolist(),
    }
    if s.proposals is not None:
        found["proposals"] = s.proposals.xyxy.tolist()
        if s.proposals.scores is not None:
            found["scores"] = s.proposals.scores.tolist()
    return found


OPS = {"annotations.spatiotemporal_table": spatiotemporal_table}
