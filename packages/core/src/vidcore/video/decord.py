"""Reading with decord, if it is named: ``pip install 'vidcore[decord]'``.

The packages ``decord`` and ``decord2`` both provide the module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av  # noqa: F401 - before decord, whose global symbols would replace those of PyAV's codecs
import numpy as np

from vidcore.errors import MissingLibraryError, VideoError
from vidcore.video.checks import ReaderBase, existing_file, frame_numbers
from vidcore.video.container import open_container

try:
    import decord
except ModuleNotFoundError as error:
    raise MissingLibraryError("decoder 'decord'", "decord") from error

__all__ = ["DecordReader"]


class DecordReader(ReaderBase):
    """Frames by number, as decord finds them: not exact, and not used by ``auto``.

    decord silently returns wrong frames for MPEG transport and program streams, open GOPs, edit lists, and MPEG-4 or
    MPEG-2 with B-frames. Use it to reproduce models trained with it, or for files that you have checked.

    Args:
        path: video file.
        threads: threads of the decoder; 0 lets it choose.

    Raises ``VideoError`` if decord cannot read the file.
    """

    decoder = "decord"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = str(path)
        file = existing_file(path)
        open_container(file, path).close()  # refuses playlists, whose files decord would open
        try:
            self._reader = decord.VideoReader(file, num_threads=threads)
            self.fps: float | None = float(self._reader.get_avg_fps()) or None
            height, width, channels = self._reader[0].shape
        except Exception as error:  # damaged files cause errors of every type
            raise VideoError(path, "cannot be opened as a video by decord") from error
        if channels != 3:  # decord2, if a row is shorter than its padding
            raise VideoError(path, f"decord returns frames with {channels} channels instead of 3; use 'pyav'")
        self.size: tuple[int, int] = (height, width)

    def __len__(self) -> int:
        return len(self._reader)

    def read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the requested frames: (n, height, width, 3) uint8 RGB."""
        wanted, places = np.unique(frame_numbers(self.path, indices, len(self)), return_inverse=True)
        if not len(wanted):
            return np.empty((0, *self.size, 3), np.uint8)
        try:
            frames = self._reader.get_batch(wanted.tolist()).asnumpy()
            return np.ascontiguousarray(frames[places])
        except Exception as error:  # damaged files cause errors of every type
            raise VideoError(self.path, "cannot be decoded by decord") from error

    def close(self) -> None:
        """Close the file."""
        self._reader = None
