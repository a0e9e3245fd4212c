"""Pipeline steps that only some action recognition datasets need."""

from __future__ import annotations

import numpy as np
import pytest

from vid_recognition.transforms.ava import SampleAVAFrames
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
