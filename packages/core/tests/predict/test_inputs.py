"""Inputs of prediction: folders of frames under any names, arrays and Samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vidcore.errors import UserError, VideoError
from vidcore.predict.inputs import FrameNames, as_sample, find_videos
from vidcore.sample import Sample

FLOW = FrameNames("flow_{}_{:05d}.jpg", "Flow")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in (3, 4, 5):
        for axis in "xy":
            (tmp_path / f"flow_{axis}_{number:05}.jpg").touch()
    (tmp_path / "other_00009.jpg").touch()
    return tmp_path


def test_frames_are_found_by_their_names(folder: Path) -> None:
    sample = as_sample(folder, 7, FLOW)
    assert (sample.index, sample.path, sample.total_frames, sample.start_index) == (7, str(folder), 3, 3)
    assert (sample.filename_tmpl, sample.modality) == (FLOW.template, "Flow")
    assert find_videos([folder], names=FLOW) == [folder]
    with pytest.raises(VideoError, match=r"no frames named like img_00001\.jpg"):
        as_sample(folder)
    with pytest.raises(UserError, match="no videos below it"):
        find_videos([folder])


def test_arrays_with_two_channels_are_flow() -> None:
    assert as_sample(np.zeros((5, 4, 6, 2), np.uint8)).modality == "Flow"
    assert as_sample(np.zeros((5, 4, 6, 3), np.uint8)).modality == "RGB"


def test_samples_are_taken_as_they_are() -> None:
    sample = as_sample(Sample(path="a", label=3), 5)
    assert (sample.path, sample.label, sample.index) == ("a", 3, 5)
