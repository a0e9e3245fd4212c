"""Reading with OpenCV, strictly in order: its seeking returns wrong frames for some files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vidcore.errors import VideoError
from vidcore.video.checks import Closing, existing_file, frame_numbers
from vidcore.video.decord import DecordReader

__all__ = ["OpenCVReader"]

Image = np.ndarray[Any, Any]

HINT = "PyAV may do better: pip install 'vidcore[av]'"


class OpenCVReader(Closing):
    """Frames by number, counted while decoding from the beginning; going back opens the file again.

    For where PyAV is not installed. A frame is returned only where decord agrees on it: OpenCV 5.0 gives
    noise for interlaced frames, decord wrong frames for many files, neither says so. Opening decodes the
    file once, since the number of frames a container advertises cannot be trusted. All this is slow.

    Args:
        path: video file.
        threads: threads of the decoder; 0 lets it choose.

    Raises ``VideoError`` where the file is missing, is no video, or nothing in it decodes.
    """

    decoder = "opencv"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = str(path)
        self._threads = threads
        self._file = existing_file(path)
        try:
            self._file.encode()
        except UnicodeError as error:  # OpenCV would crash
            raise VideoError(path, f"has a name that OpenCV cannot read; {HINT}") from error
        self._open()
        self.fps: float | None = self._capture.get(cv2.CAP_PROP_FPS) or None
        self._advertised = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._length = self._count()
        if not self._length:
            raise VideoError(path, f"has no frame that OpenCV can decode; {HINT}")
        self._open()
        image = self._retrieve(0)
        self.size: tuple[int, int] = (image.shape[0], image.shape[1])

    def __len__(self) -> int:
        return self._length

    def read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the frames asked for: (n, height, width, 3) uint8 RGB."""
        wanted, places = np.unique(frame_numbers(self.path, indices, len(self), self._advertised), return_inverse=True)
        out = np.empty((len(wanted), *self.size, 3), np.uint8)
        for slot, number in zip(out, wanted.tolist(), strict=True):
            image = self._retrieve(number)
            if image.shape[:2] != self.size:  # streams may change the size of their frames
                image = cv2.resize(image, self.size[::-1])
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=slot)
        if len(wanted):
            self._confirm(wanted.tolist(), out)
        return out[places]

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _open(self) -> None:
        self._capture = cv2.VideoCapture(self._file, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, self._threads])
        self._next = 0
        if not self._capture.isOpened():
            raise VideoError(self.path, f"cannot be opened as a video by OpenCV; {HINT}")

    def _count(self) -> int:
        count = 0
        while self._capture.grab():
            count += 1
        with Path(self._file).open("rb") as file:
            head = file.read(8)
        if count < self._advertised and (head[4:] == b"ftyp" or head[:4] == b"RIFF"):  # others only estimate
            return max(min(count, 1), count - 3)  # a decoder makes up the last frames of a file that was cut
        return count

    def _retrieve(self, number: int) -> Image:
        if number < self._next:
            self._open()
        while self._next <= number:
            if not self._capture.grab():
                raise VideoError(self.path, f"frame {number} could not be decoded")
            self._next += 1
        image: Image = self._capture.retrieve()[1]
        return image

    def _confirm(self, wanted: list[int], frames: Image) -> None:
        try:
            with DecordReader(self._file) as other_reader:
                others = other_reader.read(wanted)
        except VideoError as error:
            raise VideoError(self.path, f"cannot be trusted: OpenCV opens it, decord does not; {HINT}") from error
        for number, frame, other in zip(wanted, frames, others, strict=True):
            if other.shape != frame.shape or np.abs(frame.astype(np.int16) - other).mean() > 4:
                raise VideoError(self.path, f"OpenCV and decord disagree on frame {number}; {HINT}")
