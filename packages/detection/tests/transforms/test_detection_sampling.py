"""Clips around key frames."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from vid_detection.transforms.sampling import SampleAVAFrames
from vidcore.errors import UserError, VideoError
from vidcore.sample import Sample
from vidcore.transforms.loading import OpenVideo


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_clip_around_a_timestamp_stays_in_its_shot() -> None:
    meta = {"timestamp": 902, "timestamp_start": 900, "shot_info": (0, 61)}
    sample = Sample(fps=30, meta=meta, start_index=1)
    step = SampleAVAFrames(4, 2, test_mode=True)
    assert step(sample, rng()).clip.indices.tolist() == [57, 59, 61, 61]
    assert SampleAVAFrames(4, 2, True, compat=True)(sample, rng()).clip.indices.tolist() == [58, 60, 61, 61]
    with pytest.raises(UserError, match="timestamp_start"):
        step(Sample(fps=30, meta={"timestamp": 2}, total_frames=90), rng())


def test_key_frames_may_be_numbers_of_frames() -> None:
    step = SampleAVAFrames(2, 1, test_mode=True)
    assert step(Sample(meta={"frame": 7}, total_frames=9), rng()).clip.indices.tolist() == [6, 7]
    with pytest.raises(VideoError, match="has 9 frames, and no key frame 10"):
        step(Sample(meta={"frame": 9}, total_frames=9, path="a.mp4"), rng())


@pytest.mark.parametrize(("fps", "frame"), [(10, 21), (25, 52)])
def test_every_video_has_its_own_rate(tmp_path: Path, fps: int, frame: int) -> None:
    path = tmp_path / "a.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (32, 32))
    for _ in range(4 * fps):
        writer.write(np.zeros((32, 32, 3), np.uint8))
    writer.release()
    opened = OpenVideo()(Sample(path=str(path), meta={"timestamp": 2.1, "timestamp_start": 0.0}), rng())
    assert SampleAVAFrames(1, 1, test_mode=True)(opened, rng()).clip.indices.tolist() == [frame]
    opened.video.close()


def test_key_frames_outside_of_the_video_are_told() -> None:
    step = SampleAVAFrames(4, test_mode=True)
    meta = {"timestamp": 1790, "timestamp_start": 900, "timestamp_end": 1800}
    with pytest.raises(VideoError, match=r"lasts 60.0 s \(it begins at 900\), and has no key frame at second 1790"):
        step(Sample(fps=10, meta=meta, total_frames=600, path="a.mp4"), rng())
    with pytest.raises(VideoError, match="uncut movies need timestamp_start = 0"):
        step(Sample(fps=10, meta=meta, total_frames=54000, path="a.mp4"), rng())
