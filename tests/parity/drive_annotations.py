"""Annotation files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vid_recognition.datasets.rawframe import RawframeDataset
from vid_recognition.datasets.video import VideoDataset
from vidcore.sample import Sample

PUBLISHED = {
    "delimiter",
    "filename_tmpl",
    "indices",
    "modality",
    "multi_class",
    "num_classes",
    "start_index",
    "with_offset",
}


def _arguments(case: Any, row: Any, prefix: str) -> dict[str, Any]:
    """Constructor arguments from the published ones: ``data_prefix`` becomes ``data_root``."""
    root = row.settings.get("data_prefix", {}).get(prefix, "")
    given = {name: value for name, value in row.settings.items() if name in PUBLISHED}
    return {
        "ann_file": case.path(row.inputs["file"]),
        "data_root": Path(root) if root else None,
        "compat": True,
        **given,
    }


def _label(sample: Sample) -> Any:
    return (-1 if sample.label is None else sample.label) if sample.labels is None else sample.labels.tolist()


def video_list(case: Any, row: Any) -> dict[str, Any]:
    dataset = VideoDataset(**{"delimiter": " ", **_arguments(case, row, "video")})
    samples = [
        {"filename": s.path, "label": _label(s), "modality": s.modality, "start_index": s.start_index} for s in dataset
    ]
    return {"length": len(dataset), "samples": samples}


def frame_folder_list(case: Any, row: Any) -> dict[str, Any]:
    dataset = RawframeDataset(**_arguments(case, row, "img"))
    samples = []
    for s in dataset:
        entry = {"frame_dir": s.path, "total_frames": s.total_frames, "label": _label(s), "modality": s.modality}
        entry |= {"start_index": s.start_index, "filename_tmpl": s.filename_tmpl}
        samples.append(entry | ({"offset": s.frame_offset} if row.settings.get("with_offset") else {}))
    return {"length": len(dataset), "samples": samples}


OPS = {
    "annotations.video_list": video_list,
    "annotations.frame_folder_list": frame_folder_list,
}
