"""Reading of video files, folders of frames, images and motion vectors."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vidcore.predict.inputs import FrameNames, as_sample
from vidcore.records import Boxes, Clip
from vidcore.sample import Sample
from vidcore.transforms.loading import BuildPseudoClip, Decode
from vidcore.transforms.pixels import realize
from vidcore.video.exact import read_motion_vectors
from vidcore.video.frames import ArrayReader, FrameFolderReader
from vidcore.video.open import open_video

DATA = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "data"


def _described(frames: np.ndarray) -> dict[str, Any]:
    step = 32 if frames.shape[1] > 1000 else 16
    return {
        "num": len(frames),
        "shape": list(frames.shape[1:]),
        "crc32": [zlib.crc32(f.tobytes()) for f in frames],
        "mean_rgb": frames.mean((1, 2)),
        "frames_small": frames[:, ::step, ::step],
        "img_shape": list(frames.shape[1:3]),
        "original_shape": list(frames.shape[1:3]),
    }


def _boxes(row: Any, path: Path, **place: Any) -> dict[str, Any]:
    frames = np.ravel(row.inputs["frame_inds"])
    sample = Sample(
        path=str(path),
        clip=Clip(frames, len(frames)),
        boxes=Boxes(row.inputs["gt_bboxes"], relative=True),
        proposals=Boxes(row.inputs["proposals"], relative=True),
        **place,
    )
    sample = Decode()(sample, np.random.default_rng(0))
    return {"gt_bboxes": sample.boxes.xyxy, "proposals": sample.proposals.xyxy}


def decode(case: Any, row: Any) -> dict[str, Any]:
    path = DATA / row.inputs["file"]
    if "gt_bboxes" in row.inputs:
        return _boxes(row, path)
    with open_video(path) as reader:
        frames = reader.read(np.ravel(row.inputs["frame_inds"]))
        return {**_described(frames), "total_frames": len(reader), "avg_fps": reader.fps}


def motion_vectors(case: Any, row: Any) -> dict[str, Any]:
    maps = read_motion_vectors(DATA / row.inputs["file"], row.inputs["frame_inds"])
    return {
        "shape": list(maps.shape),
        "dtype": str(maps.dtype),
        "crc32": [zlib.crc32(m.tobytes()) for m in maps],
        "mean": maps.mean((1, 2)),
        "nonzero": [int(np.count_nonzero(m)) for m in maps],
        "small": maps[:, ::16, ::16],
    }


def image_folders(case: Any, row: Any) -> dict[str, Any]:
    if "frames_nchw" in row.inputs:
        return _array(row)
    if "file" in row.inputs:
        return _image(row)
    path = DATA / row.inputs["folder"]
    template, offset = row.settings.get("template", "img_{:05}.jpg"), row.inputs.get("offset", 0)
    if "gt_bboxes" in row.inputs:
        return _boxes(row, path, filename_tmpl=template, start_index=1)
    with FrameFolderReader(path, template, row.settings["modality"], start_index=1, offset=offset) as reader:
        return _described(reader.read(np.asarray(row.inputs["frame_inds"]) - 1))


def _image(row: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    sample = Decode()(Sample(path=str(DATA / row.inputs["file"])), rng)
    if "clip_len" in row.settings:
        sample = BuildPseudoClip(clip_len=row.settings["clip_len"])(sample, rng)
    clip = {} if sample.clip is None else {"clip_len": sample.clip.length, "num_clips": sample.clip.count}
    return {**_described(realize(sample).frames), **clip}


def _array(row: Any) -> dict[str, Any]:
    frames = np.moveaxis(row.inputs["frames_nchw"], 1, -1)
    flow = row.settings["modality"] == "Flow"
    images = ArrayReader(frames[..., :2] if flow else frames).read(row.inputs["frame_inds"])
    if flow:  # one map after the other
        images = np.moveaxis(images, -1, 1).reshape(-1, *images.shape[1:3])
    return {"imgs": images, "img_shape": list(frames.shape[1:3]), "num": len(images)}


def inference_input(case: Any, row: Any) -> dict[str, Any]:
    names = FrameNames(row.settings.get("template", "img_{:05}.jpg"), row.settings.get("modality", "RGB"))
    if row.settings["format"] == "array":
        return {"sample": _in_words_of_the_seeds(as_sample(np.zeros(row.inputs["shape"], np.uint8)))}
    if row.settings["format"] == "dict":
        given = row.inputs["sample"]
        sample = as_sample(Sample(path=given["filename"], label=given["label"]))
        return {"sample": {"filename": sample.path, "label": sample.label}}
    name = row.inputs.get("video", row.inputs.get("folder"))
    sample = as_sample(DATA / name, 0, names)
    place = {"frame_dir": name, "filename_tmpl": sample.filename_tmpl} if "folder" in row.inputs else {"filename": name}
    assert sample.path == str(DATA / name)
    return {"sample": {**place, **_in_words_of_the_seeds(sample)}}


def _in_words_of_the_seeds(sample: Sample) -> dict[str, Any]:
    label = -1 if sample.label is None else sample.label
    found = {"label": label, "start_index": sample.start_index, "modality": sample.modality}
    return found if sample.total_frames is None else {**found, "total_frames": sample.total_frames}


OPS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "video.decode": decode,
    "video.decode_variants": decode,
    "video.image_folders": image_folders,
    "video.inference_input": inference_input,
    "video.motion_vectors": motion_vectors,
}
