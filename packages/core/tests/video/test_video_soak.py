"""Opening many videos leaves nothing behind.

``VIDCORE_SOAK=2000 pytest -s packages/core/tests/video/test_video_soak.py`` runs as long as you like.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from pathlib import Path

import pytest

from vidcore.errors import VideoError
from vidcore.video.open import open_video

ROUNDS = int(os.environ.get("VIDCORE_SOAK", "60"))
WARM_UP = 20


def _resident() -> int:
    """Bytes of memory in use, without those that the allocator keeps for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, calls glibc")
def test_memory_and_handles_do_not_grow(videos: dict[str, Path]) -> None:
    paths = [videos[name] for name in ("h264.mp4", "h264.avi", "damaged.mp4")]  # indexed, counted, failing

    def once() -> None:
        for path in paths:
            try:
                with open_video(path) as reader:
                    reader.read([len(reader) - 1, 3])
            except VideoError:
                pass

    for _ in range(WARM_UP):
        once()
    before, handles = _resident(), len(os.listdir("/proc/self/fd"))  # without what earlier tests left to be collected
    for _ in range(ROUNDS):
        once()
    growth = _resident() - before
    print(f"{ROUNDS * len(paths)} opens, {growth / 2**20:+.1f} MiB")
    assert len(os.listdir("/proc/self/fd")) <= handles
    assert growth < 8 * 2**20
