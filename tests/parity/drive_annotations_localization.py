"""Annotation files of temporal localization."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.datasets.charades import CharadesSTADataset
from vid_localization.transforms.loading import LoadProposalFeatures


def localization_json(case: Any, row: Any) -> dict[str, Any]:
    import json

    file, root = case.path(row.inputs["file"]), row.settings.get("data_prefix", {}).get("video", "")
    dataset = ActivityNetDataset(file, Path(root) if root else None, bad_segments="keep")
    written = json.loads(file.read_text())
    samples = []
    for s in dataset:
        name, segments = s.key, s.segments.spans.tolist()
        labels = [dataset.class_names[i] for i in s.segments.labels]
        samples.append(
            written[name]  # fields that vidcore ignores
            | {"duration_second": s.duration, "duration_frame": s.total_frames, "fps": s.fps}
            | {"annotations": [{"segment": a, "label": b} for a, b in zip(segments, labels, strict=True)]}
            | {"feature_path": s.path if root else f"/{s.path}", "video_name": name}
            | {"modality": s.modality, "start_index": s.start_index}
        )
    return {"length": len(dataset), "samples": samples}


def grounding_queries(case: Any, row: Any) -> dict[str, Any]:
    import tempfile

    file, words, fps, durations, frames = (
        case.path(row.inputs[name]) for name in ("file", "word2id", "fps", "duration", "frames")
    )
    window, overlap = row.settings["window"], row.settings["overlap"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, features in row.inputs.items():
            if name.startswith("feature_"):
                np.save(Path(folder, name.removeprefix("feature_")), features)
        dataset = CharadesSTADataset(file, words, fps, durations, frames, window, overlap, Path(folder), ".npy")
        for i, sample in enumerate(dataset):
            s = LoadProposalFeatures()(sample, np.random.default_rng())
            ((start, end),) = s.segments.spans.tolist()
            found[f"q{i}_proposals"] = s.proposals.spans / s.duration
            found[f"q{i}_proposal_indexes"] = s.extra["parts"].features
            found[f"q{i}_raw_feature"] = s.inputs["features"]
            found[f"q{i}_query_tokens"] = s.text.tokens
            found[f"q{i}"] = {
                "vid_name": s.key,
                "fps": s.fps,
                "num_frames": s.total_frames,
                "duration": s.duration,
                "query_length": len(s.text.tokens),
                "gt_start_time": start,
                "gt_end_time": end,
                "gt_bbox": [start / s.duration, end / s.duration],
                "num_proposals": len(s.proposals),
                "modality": s.modality,
                "start_index": s.start_index,
            }
    return found


OPS = {"annotations.localization_json": localization_json, "annotations.grounding_queries": grounding_queries}
