"""A part of a video, read as if it were the whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vidcore.typing import Array
from vidcore.video.checks import ReaderBase, frame_numbers
from vidcore.video.reader import VideoReader

__all__ = ["PartReader"]


class PartReader(ReaderBase):
    """A part of an open video, whose frames count from 0. Closing it closes the video.

    Args:
        video: open.
        first: first frame of the part.
        stop: frame after its last.
    """

    def __init__(self, video: VideoReader, first: int, stop: int) -> None:
        self.path, self.fps, self.decoder = video.path, video.fps, video.decoder
        self._video, self._first, self._stop = video, first, stop

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self._video.size

    def __len__(self) -> int:
        return self._stop - self._first

    def times(self) -> Array | None:
        """Return the seconds at which frames appear, (frames,) from 0; None if they are regular."""
        times = self._video.times() if isinstance(self._video, ReaderBase) else None
        return None if times is None else times[self._first : self._stop] - times[self._first]

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Return the requested frames of the part."""
        return np.asarray(self._video.read(self._first + frame_numbers(self.path, indices, len(self))))

    def close(self) -> None:
        """Close the video."""
        self._video.close()
