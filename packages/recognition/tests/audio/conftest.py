"""Videos with sound."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest


def _write(
    path: Path,
    sound: np.ndarray | None,
    rate: int,
    codec: str = "aac",
    delay: float = 0.0,
    picture: bool = True,
    streams: int = 1,
    seconds: float = 2.0,
) -> Path:
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream("mpeg4", rate=10) if picture else None
        if picture:
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sounds = [out.add_stream(codec, rate=rate, layout="mono") for _ in range(streams if sound is not None else 0)]
        for number in range(round(10 * seconds) if picture else 0):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 9 * number % 250, np.uint8), "rgb24")
            frame.pts = number
            out.mux(video.encode(frame))
        if picture:
            out.mux(video.encode(None))
        for quieter, stream in enumerate(sounds):
            kind = stream.format.name
            values = sound * (1 - quieter)
            values = np.round(values * 32767).astype(np.int16) if kind.startswith("s16") else values.astype(np.float32)
            for at in range(0, len(values), 1024):
                part = av.AudioFrame.from_ndarray(values[None, at : at + 1024], kind, "mono")
                part.rate, part.pts = rate, at + round(delay * rate)
                out.mux(stream.encode(part))
            out.mux(stream.encode(None))
    return path


@pytest.fixture
def with_sound() -> Callable[..., Path]:
    """Write a video whose sound is (samples,) from -1 to 1 and begins after ``delay`` seconds."""
    return _write
