"""Reading with OpenCV, strictly in order: its seeking returns wrong frames for some files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np

from vidcore.errors import VideoError
from vidcore.video.checks import existing_file, frame_numbers

__all__ = ["OpenCVReader"]


class OpenCVReader:
    """Frames by number, counted while decoding from the beginning; going back opens the file again.

    ``len`` decodes the file once, since the number a container advertises cannot be trusted.

    :param path: video file.
    :param threads: threads of the decoder; 0 lets it choose.

    Raises ``VideoError`` where the file is missing, is no video, or nothing in it decodes.
    """

    decoder = "opencv"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = str(path)
        self._threads = threads
        existing_file(path)
        self._open()
        self.fps: float | None = self._capture.get(cv2.CAP_PROP_FPS) or None
        self._advertised = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._length = 0
        while self._capture.grab():
            self._length += 1
            if self._length == 1:
                height, width = self._capture.retrieve()[1].shape[:2]
                self.size: tuple[int, int] = (height, width)
        if not self._length:
            raise VideoError(path, "has no frame that OpenCV can decode")
        self._open()

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the frames asked for: (n, height, width, 3) uint8 RGB."""
        wanted, places = np.unique(frame_numbers(self.path, indices, len(self), self._advertised), return_inverse=True)
        out = np.empty((len(places), *self.size, 3), np.uint8)
        if len(wanted) and wanted[0] < self._next:
            self._open()
        for rank, number in enumerate(wanted.tolist()):
            while self._next <= number:
                if not self._capture.grab():
                    raise VideoError(self.path, f"frame {number} could not be decoded")
                self._next += 1
            image = cv2.cvtColor(self._capture.retrieve()[1], cv2.COLOR_BGR2RGB)
            if image.shape[:2] != self.size:
                image = cv2.resize(image, self.size[::-1])
            out[places == rank] = image
        return out

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(self.path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, self._threads])
        self._next = 0
        if not self._capture.isOpened():
            raise VideoError(self.path, "cannot be opened as a video by OpenCV")
