"""Annotation files of skeletons."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from vid_skeleton.datasets.pose import PoseDataset


def pose_records(case: Any, row: Any) -> dict[str, Any]:
    content = json.loads(case.path(row.inputs["file"]).read_text())
    for record in content if isinstance(content, list) else content["annotations"]:
        record["keypoint"] = np.zeros((1, record["total_frames"], 17, 2), np.float16)  # the case leaves it out
    root = row.settings.get("data_prefix", {}).get("video")
    given = {name: row.settings[name] for name in ("split", "valid_ratio", "box_thr") if name in row.settings}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "records.pkl")
        file.write_bytes(pickle.dumps(content))
        dataset = PoseDataset(file, data_root=Path(root) if root else None, **given)
    found = dataset.published
    assert found is not None
    samples = []
    for video, sample in zip(dataset.rows.tolist(), dataset, strict=True):
        assert sample.geometry is not None and found.valid is not None and found.box_scores is not None
        entry = {
            "filename" if (sample.path or "").endswith(".mp4") else "frame_dir": sample.path,
            "label": sample.label,
            "total_frames": sample.total_frames,
            "img_shape": list(sample.geometry.size),
            "box_score": found.box_scores[video].tolist(),
            "valid": {key: int(found.valid[video, "56789".index(key[2])]) for key in ("0.5", "0.6", "0.9")},
            "modality": "Pose",
            "start_index": sample.start_index,
        }
        if dataset.threshold is not None:
            entry["anno_inds"] = found.confident(video, dataset.threshold).tolist()
        samples.append(entry)
    return {"length": len(dataset), "samples": samples}


OPS = {"annotations.pose_records": pose_records}
