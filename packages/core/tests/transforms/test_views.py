"""One view of a video instead of all those of a test protocol."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from vidcore.config.bind import build_component
from vidcore.sample import Sample
from vidcore.transforms.views import black_video, chosen_frames, count_views, input_contract, one_view

CLIP = {"clip_len": 4, "frame_interval": 2, "test_mode": True}
STEPS: dict[str, tuple[dict[str, Any], tuple[int, int], tuple[int, int], tuple[int, int]]] = {
    # table, views, with one clip, with all clips
    "clips": ({"type": "SampleFrames", "num_clips": 10, **CLIP}, (10, 1), (1, 1), (10, 1)),
    "twice": ({"type": "SampleFrames", "num_clips": 8, "twice_sample": True, **CLIP}, (16, 1), (1, 1), (8, 1)),
    "dense": ({"type": "DenseSampleFrames", "num_clips": 8, **CLIP}, (80, 1), (1, 1), (8, 1)),
    "uniform": ({"type": "UniformSample", "clip_len": 4, "num_clips": 3, "test_mode": True}, (3, 1), (1, 1), (3, 1)),
    "three": ({"type": "ThreeCrop", "crop_size": 240}, (1, 3), (1, 1), (1, 1)),
    "ten": ({"type": "TenCrop", "crop_size": 224}, (1, 10), (1, 1), (1, 1)),
    "branches": ({"type": "Branches", "branches": {"a": {"crop": {"type": "ThreeCrop", "crop_size": 240}}}},
                 (1, 3), (1, 1), (1, 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", STEPS)
def test_steps_are_reduced(name: str) -> None:
    table, views, one, segments = STEPS[name]
    steps = {"step": build_component(table, "transforms")}
    assert count_views(steps) == views
    assert count_views(one_view(steps, clips=True)) == one
    assert count_views(one_view(steps, clips=False)) == segments


@pytest.mark.parametrize("name", ["clips", "twice", "dense", "uniform"])
def test_the_clip_is_in_the_middle(name: str) -> None:
    step = build_component(STEPS[name][0], "transforms")
    total = 400
    sample = Sample(path="a.mp4", total_frames=total)
    found = chosen_frames(one_view({"step": step}, clips=True), sample)
    assert found is not None and found.clip is not None and found.clip.count == 1
    middle = (found.clip.indices[0] + found.clip.indices[-1]) / 2
    if name == "dense":  # the range of 64 frames is in the middle, the clip at its start
        middle += 32 - 3
    assert abs(middle - total / 2) <= 4
    every = chosen_frames({"step": step}, sample)
    assert every is not None and every.clip is not None and every.clip.count == count_views({"step": step})[0]


def test_the_crop_is_the_centre() -> None:
    steps = {"three": build_component({"type": "ThreeCrop", "crop_size": [240, 240]}, "transforms")}
    sample = black_video().replace(frames=np.zeros((1, 240, 320, 3), np.uint8), video=None)
    cut = one_view(steps, clips=False)["three"](sample, np.random.default_rng(0))
    assert cut.num_crops == 1 and cut.geometry is not None
    assert cut.geometry.windows == ((40, 0, False),)


def test_the_contract_of_a_pipeline() -> None:
    tables = [
        {"type": "OpenVideo"},
        {"type": "SampleFrames", "num_clips": 10, **CLIP},
        {"type": "Decode"},
        {"type": "Resize", "scale": [-1, 32]},
        {"type": "ThreeCrop", "crop_size": 32},
        {"type": "FormatShape", "input_format": "NCTHW"},
    ]
    steps = {str(i): build_component(table, "transforms") for i, table in enumerate(tables)}
    found = input_contract(steps)
    assert found == {
        "clip_frames": 4,
        "frame_interval": 2,
        "clips": 10,
        "crops": 3,
        "inputs": {"imgs": [10, 3, 4, 32, 32]},
    }
    assert input_contract({}) is None
