"""Exact and fast reading with PyAV (``pip install vidcore[av]``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from vidcore.video.checks import Closing
from vidcore.video.finder import FrameFinder
from vidcore.video.rotation import Orientation

__all__ = ["PyAVReader"]


class PyAVReader(Closing):
    """Frames by number, as a decoding of the whole file in order would show them; see ``FrameFinder``.

    Args:
        path: video file.
        threads: threads of the decoder; 0 lets it choose.

    Raises ``VideoError`` where the file is missing, is no video, or nothing in it decodes.
    """

    decoder = "pyav"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = str(path)
        self._finder = FrameFinder(path, threads)
        self.fps = self._finder.fps
        self._reformatter = VideoReformatter()
        self._orientation: Orientation | None = None  # only frames tell

    def __len__(self) -> int:
        return len(self._finder)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames as returned (rotation applied)."""
        if self._orientation is None:
            for _, frame in self._finder.frames([0]):
                self._orientation = Orientation.of(frame)
        assert self._orientation is not None
        return self._orientation.size(self._finder.coded_size)

    def read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the frames asked for: (n, height, width, 3) uint8 RGB."""
        out: np.ndarray[Any, Any] | None = None
        height, width = self._finder.coded_size
        for (first, *others), frame in self._finder.frames(indices):
            if self._orientation is None:
                self._orientation = Orientation.of(frame)
            if out is None:
                out = np.empty((len(indices), *self.size, 3), np.uint8)
            # Streams may change the size of their frames: all are brought to that of the first.
            image = self._reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
            self._orientation.turn(image, out[first])
            for other in others:
                out[other] = out[first]
        return np.empty((0, *self.size, 3), np.uint8) if out is None else out

    def close(self) -> None:
        """Close the file."""
        self._finder.close()
