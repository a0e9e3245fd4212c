"""Sampling of frames."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from vid_detection.transforms.sampling import SampleAVAFrames
from vidcore.sample import Sample
from vidcore.transforms.sampling import (
    DenseSampleFrames,
    SampleFrames,
    UniformSample,
    UntrimmedSampleFrames,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def indices(row: Any, step: Any) -> dict[str, Any]:
    given = row.inputs
    sample = Sample(
        total_frames=given.get("total_frames"),
        start_index=given["start_index"],
        fps=given.get("avg_fps", given.get("fps")),
        meta={k: given[k] for k in ("timestamp", "timestamp_start", "shot_info") if k in given},
    )
    draws = 4 * row.settings["draws"] if "draws" in row.settings else 0
    if draws:  # more than the reference, to include extreme values
        generator = rng()
        drawn = np.stack([step(sample, generator).clip.indices for _ in range(draws)])
        return {"smallest": drawn.min(0).tolist(), "largest": drawn.max(0).tolist(), "mean": drawn.mean(0)}
    clip = step(sample, rng()).clip
    return {
        "frame_inds": clip.indices.tolist(),
        "clip_len": clip.length,
        "frame_interval": clip.interval,
        "num_clips": getattr(step, "num_clips", clip.count),
        "crop_quadruple": np.float32([0, 0, 1, 1]),
    }


def settings(row: Any, **more: Any) -> dict[str, Any]:
    return {**{k: v for k, v in row.settings.items() if k != "draws"}, **more}


def clip_sampling_test(case: Any, row: Any) -> dict[str, Any]:
    return indices(row, SampleFrames(**settings(row, test_mode=True)))


def clip_sampling_train(case: Any, row: Any) -> dict[str, Any]:
    kind = SampleAVAFrames if "timestamp" in row.inputs else SampleFrames
    return indices(row, kind(**settings(row)))


def dense_sampling_test(case: Any, row: Any) -> dict[str, Any]:
    return indices(row, DenseSampleFrames(**settings(row, test_mode=True)))


def segment_sampling_test(case: Any, row: Any) -> dict[str, Any]:
    untrimmed = "clip_interval" in row.settings
    return indices(
        row, UntrimmedSampleFrames(**settings(row)) if untrimmed else UniformSample(**settings(row, test_mode=True))
    )


def centre_clip_sampling_test(case: Any, row: Any) -> dict[str, Any]:
    return indices(row, SampleAVAFrames(**settings(row, test_mode=True, compat=True)))


OPS: dict[str, Callable[[Any, Any], dict[str, Any]]] = {
    "video.clip_sampling_test": clip_sampling_test,
    "video.clip_sampling_train": clip_sampling_train,
    "video.clip_sampling_train_fixed": clip_sampling_train,
    "video.dense_sampling_test": dense_sampling_test,
    "video.segment_sampling_test": segment_sampling_test,
    "video.centre_clip_sampling_test": centre_clip_sampling_test,
}
