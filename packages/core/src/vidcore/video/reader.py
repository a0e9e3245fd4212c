"""Protocols of readers of video and audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import numpy as np

__all__ = ["AudioReader", "Decoder", "VideoReader"]


@runtime_checkable
class VideoReader(Protocol):
    """An open video. Close it, or use it as a context manager.

    Use it in one thread at a time, and in the process that opened it, unless a reader documents more.
    """

    path: str
    """The file or folder, for messages."""
    fps: float | None
    """Frames per second (mean rate); None if the source has none."""
    decoder: str
    """Name of the decoder, for reports."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames as returned, after rotation."""
        ...

    def __len__(self) -> int:
        """Number of frames that can be read, which may differ from the file's header."""
        ...

    def read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the requested frames, in that order: (n, height, width, 3) uint8 RGB, contiguous.

        Indices count shown frames from 0; they may repeat and need not be sorted.
        Raises ``VideoError``, naming the file, if a frame cannot be read.
        """
        ...

    def close(self) -> None:
        """Release resources."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...


class Decoder(Protocol):
    """The class of a reader, or a function that returns a reader."""

    def __call__(self, path: str | Path, /, *, threads: int) -> VideoReader:
        """Open a file.

        Args:
            path: the file.
            threads: threads that decode; 0 lets the decoder choose.

        Raises ``VideoError``, naming the file, if it cannot be read.
        """
        ...


@runtime_checkable
class AudioReader(Protocol):
    """The open audio of a file. Close it, or use it as a context manager.

    Use it in one thread at a time, and in the process that opened it.
    """

    path: str
    """The file, for messages."""
    rate: int
    """Samples per second."""
    channels: int
    start: float
    """Seconds from the first frame of the file's video to the first sample; 0 without video."""

    def __len__(self) -> int:
        """Number of samples (per channel) that can be read, which may differ from the file's header."""
        ...

    @property
    def duration(self) -> float:
        """Seconds: ``len(reader) / rate``."""
        ...

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray[Any, Any]:
        """Return samples ``start`` (included) to ``stop`` (not included; default: the end).

        (channels, samples) float32, full scale from -1 to 1.

        Raises ``VideoError``, naming the file, if a sample cannot be read.
        """
        ...

    def blocks(self, size: int) -> Iterator[np.ndarray[Any, Any]]:
        """Yield all samples in order, ``size`` at a time; the last block may be shorter.

        Raises ``VideoError``, naming the file, if a sample cannot be read.
        """
        ...

    def close(self) -> None:
        """Release resources."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...
