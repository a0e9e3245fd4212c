"""Sliding windows: the right frames, each decoded once, with few in memory."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from vidcore.errors import UserError, VideoError
from vidcore.video.frames import ArrayReader
from vidcore.video.reader import VideoReader
from vidcore.video.window import ForwardReader, Positions, Span, windows


class Counting(ArrayReader):
    """Frames whose grey is their number (modulo 256); remembers which were decoded."""

    def __init__(self, length: int, fps: float | None = 25.0) -> None:
        grey = np.arange(length, dtype=np.uint32)[:, None, None, None] % 256
        super().__init__(np.broadcast_to(grey, (length, 4, 6, 3)).astype(np.uint8), fps, "counted.mp4")
        self.asked: list[int] = []

    def read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        self.asked += map(int, indices)
        return super().read(indices)


@pytest.mark.parametrize("length", [100, 97, 40, 9, 3, 1])
@pytest.mark.parametrize("stride", [1, 4, 16])
@pytest.mark.parametrize("interval", [1, 3])
def test_windows_are_centred_on_their_positions(length: int, stride: int, interval: int) -> None:
    video = Counting(length)
    found = list(windows(video, 12, stride, interval))
    step = min(stride, length)
    middles = np.arange(step / 2, length, step)
    assert [p.number for p in found] == list(range(len(middles)))
    for position, middle in zip(found, middles, strict=True):
        offsets = range(0, 12, interval)
        first = int(np.floor(middle - (offsets[-1] + 1) / 2 + 0.5))
        assert position.frames.tolist() == [min(max(first + k, 0), length - 1) for k in offsets]
        assert np.array_equal(position.read()[:, 0, 0, 0], position.frames % 256)
    assert (np.diff(video.asked) > 0).all()


@pytest.mark.parametrize(("size", "stride"), [("20", "4"), ("2s", "0.5s"), ("0.4s", "1s"), ("1s", "7"), (8, 8)])
def test_each_frame_is_decoded_once_and_few_are_kept(size: str | int, stride: str | int) -> None:
    video = Counting(1000)
    wanted: set[int] = set()
    for position in windows(video, size, stride):
        assert isinstance(position.reader, VideoReader)
        clip = position.read()
        assert np.array_equal(clip, position.read()), "a window may be read again"
        assert len(position.reader._kept) <= len(position.frames)
        assert (clip.dtype, len(clip)) == (np.uint8, round(Span.parse(str(size)).frames(25)))
        wanted.update(position.frames.tolist())
    assert video.asked == sorted(wanted)
    assert len(video.read([0])) == 1, "the video stays open"


def test_skipped_windows_are_not_decoded() -> None:
    video = Counting(400)
    for position in windows(video, 10, 20):
        if position.number % 2:
            position.read()
    assert video.asked == [k for first in range(25, 400, 40) for k in range(first, first + 10)]


def test_times_in_seconds() -> None:
    found = list(windows(Counting(103), "1s", "0.4s"))  # windows of 25 frames, 10 apart; the last middle is 95
    assert [round(p.middle or 0, 6) for p in found] == [round(0.2 + 0.4 * k, 6) for k in range(10)]
    assert (found[0].start, found[5].start, found[-1].end) == (0.0, pytest.approx(1.7), pytest.approx(4.12))
    assert found[5].end == pytest.approx(2.7)
    unknown = next(windows(Counting(103, fps=None), 25, 10))
    assert (unknown.start, unknown.middle, unknown.end) == (None, None, None)
    with pytest.raises(VideoError, match=r"counted\.mp4: has no frame rate, which 1s requires"):
        next(windows(Counting(103, fps=None), "1s", 10))


def test_invalid_arguments_are_refused() -> None:
    for text in ("0", "-3", "1.5", "fast", "0s", ""):
        with pytest.raises(UserError, match=f"length '{text}': must be a number of frames like 16, or of seconds"):
            next(windows(Counting(10), text, 1))
    with pytest.raises(UserError, match="interval must be at least 1, got 0"):
        next(windows(Counting(10), 4, 4, 0))
    with pytest.raises(VideoError, match=r"counted\.mp4: has no frames"):
        next(windows(Counting(0), 4, 4))
    found = list(windows(Counting(100), 4, 4))
    found[10].read()
    with pytest.raises(ValueError, match="frame 20 is not among those wanted, or before the previous window"):
        found[5].read()


def test_frames_wanted_are_found_in_little_memory() -> None:
    positions = Positions.of(10_000, 0.5, np.arange(0, 64, 2))
    assert np.array_equal(positions.wanted(), np.unique(positions.frames(slice(None))))
    assert positions.covered == 10_000
    reader = ForwardReader(Counting(10), np.arange(10))
    assert (len(reader), reader.size, reader.fps, reader.decoder) == (10, (4, 6), 25.0, "array")


def test_reading_needs_no_torch() -> None:
    script = """
import importlib, pkgutil, sys
sys.modules["torch"] = None
for name in ("vidcore.video", "vidcore.transforms"):
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
        if module.name != "vidcore.video.decord":  # an extra
            importlib.import_module(module.name)
import vidcore.sample
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
