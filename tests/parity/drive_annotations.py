"""Annotation files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vid_recognition.audio.dataset import AudioDataset
from vid_recognition.datasets.rawframe import RawframeDataset
from vid_recognition.datasets.video import VideoDataset
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.sample import Sample
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import Decode, OpenVideo
from vidcore.transforms.resizing import Resize
from vidcore.transforms.sampling import SampleFrames

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
    """Return constructor arguments for the published ones: ``data_prefix`` becomes ``data_root``."""
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


def audio_list(case: Any, row: Any) -> dict[str, Any]:
    given = _arguments(case, row, "audio")
    del given["compat"]
    dataset = AudioDataset(**given)
    samples = []
    for s in dataset:
        entry = {"audio_path": s.path, "total_frames": s.total_frames, "label": _label(s)}
        samples.append(entry | {"modality": s.modality, "start_index": s.start_index})
    return {"length": len(dataset), "samples": samples}


def repeated_augmentation(case: Any, row: Any) -> dict[str, Any]:
    """Repeats are an option of the loader; a row without ``num_repeats`` has a pipeline that cannot open videos."""
    dataset = VideoDataset(case.path(row.inputs["file"]), case.folder.parents[1] / "data", delimiter=" ", compat=True)
    repeats = row.settings.get("num_repeats")
    steps = [SampleFrames(clip_len=4), Decode(), Resize((24, 24), keep_ratio=False), FormatShape("NCTHW")]
    options = LoaderOptions(
        batch_size=len(dataset),
        shuffle=False,
        num_repeats=repeats or 1,
        sample_once=row.settings.get("sample_once", False),
    )
    (batch,) = Loader(dataset, [OpenVideo(), *steps] if repeats else steps, options, training=True)
    videos = batch.inputs.unflatten(0, (len(dataset), -1))
    return {
        "per_video": [len(video) for video in videos],
        "batch_inputs": len(batch),
        "input_shape": list(batch.inputs.shape[1:]),
        "labels": batch.labels.tolist(),
        "repeats_equal": [bool((video == video[:1]).all()) for video in videos],
    }


OPS = {
    "annotations.audio_list": audio_list,
    "annotations.video_list": video_list,
    "annotations.frame_folder_list": frame_folder_list,
    "annotations.repeated_augmentation": repeated_augmentation,
}
