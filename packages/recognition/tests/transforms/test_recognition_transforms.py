"""Pipeline steps that only some action recognition datasets need."""

from __future__ import annotations

import numpy as np
import pytest

from vid_recognition.transforms.ava import SampleAVAFrames
from vid_recognition.transforms.hvu import LoadHVULabel
from vidcore.errors import UserError
from vidcore.sample import Sample


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_clip_around_a_timestamp_stays_in_its_shot() -> None:
    meta = {"timestamp": 902, "timestamp_start": 900, "shot_info": (0, 61)}
    sample = Sample(fps=30, meta=meta, start_index=1)
    step = SampleAVAFrames(4, 2, test_mode=True)
    assert step(sample, rng()).clip.indices.tolist() == [57, 59, 61, 61]
    assert SampleAVAFrames(4, 2, True, compat=True)(sample, rng()).clip.indices.tolist() == [58, 60, 61, 61]
    with pytest.raises(UserError, match="timestamp_start"):
        step(Sample(fps=30, meta={"timestamp": 2}), rng())


def test_category_labels_out_of_range_are_refused() -> None:
    step = LoadHVULabel(["action", "scene"], [3, 2])
    sample = step(Sample(meta={"categories": {"scene": [1]}}), rng())
    assert sample.labels is not None
    assert sample.labels.tolist() == [0, 0, 0, 0, 1]
    assert sample.targets["mask"].tolist() == [0, 0, 0, 1, 1]
    with pytest.raises(UserError, match="'scene' has class 2; allowed: 0 to 1"):
        step(Sample(meta={"categories": {"scene": [2]}}), rng())
