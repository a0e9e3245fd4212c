"""The public reader: frames by number, as uint8 RGB, rotated for display."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from av.video.reformatter import VideoReformatter

from vidcore.video.checks import ReaderBase, frame_numbers, reading
from vidcore.video.exact.finder import FrameFinder
from vidcore.video.rotation import Orientation

__all__ = ["PyAVReader"]


class PyAVReader(ReaderBase):
    """Frames by number, exactly as decoding the whole file in order shows them; see ``FrameFinder``.

    Threads may share a reader, and so may processes that are forked while it is open.

    Args:
        path: video file.
        threads: threads of the decoder; 0 lets it choose.

    Raises ``VideoError`` if the file is missing, is not a video, or nothing in it can be decoded.
    """

    decoder = "pyav"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = str(path)
        self._threads, self._process, self._turn = threads, os.getpid(), threading.RLock()
        with reading(path):
            self._finder = FrameFinder(path, threads)
        self.fps = self._finder.fps
        self._reformatter = VideoReformatter()
        self._orientation: Orientation | None = None  # only decoded frames have it

    def __len__(self) -> int:
        return len(self._finder)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames as returned, after rotation."""
        if self._orientation is None:
            self.read([0])
        assert self._orientation is not None
        return self._orientation.size(self._finder.coded_size)

    def times(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Return the seconds at which frames appear, (frames,) from 0; None if the file does not have them."""
        return self._finder.times()

    def read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the requested frames: (n, height, width, 3) uint8 RGB."""
        frame_numbers(self.path, indices, len(self), self._finder.advertised)
        with self._turn, reading(self.path):
            self._leave_parent()
            return self._read(indices)

    def _read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        out: np.ndarray[Any, Any] | None = None
        height, width = self._finder.coded_size
        for (first, *others), frame in self._finder.frames(indices):
            if self._orientation is None:
                self._orientation = Orientation.of(frame)
            if out is None:
                out = np.empty((len(indices), *self.size, 3), np.uint8)
            # A stream may change its frame size: all frames are scaled to the first size.
            image = self._reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
            self._orientation.turn(image, out[first])
            for other in others:
                out[other] = out[first]
        return np.empty((0, *self.size, 3), np.uint8) if out is None else out

    def close(self) -> None:
        """Close the file."""
        if self._process == os.getpid():
            self._finder.close()
        else:
            _abandon(self._finder)

    def _leave_parent(self) -> None:
        """Open the file again in a forked process: file position and threads belong to the parent."""
        if self._process != os.getpid():
            _abandon(self._finder)
            self._finder, self._process = FrameFinder(self.path, self._threads), os.getpid()


def _abandon(finder: FrameFinder) -> None:
    """Never free it: that would wait for threads of the decoder, which do not exist in a forked process."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(finder))
