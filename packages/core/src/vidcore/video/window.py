"""A window that slides over a video: clips at regular distances, each frame decoded once and in order.

Example::

    with open_video("match.mp4") as video:
        for position in windows(video, length="2s", stride="0.5s"):
            clip = position.read()  # (frames, height, width, 3) uint8
            print(f"{position.start:.1f} s to {position.end:.1f} s: {clip.mean():.0f}")
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from attrs import define, field, frozen

from vidcore.errors import UserError, VideoError
from vidcore.typing import Array
from vidcore.video.checks import ReaderBase
from vidcore.video.reader import VideoReader

__all__ = ["ForwardReader", "Position", "Positions", "Span", "windows"]


@frozen
class Span:
    """A stretch of video: so many frames, or so many seconds.

    >>> Span.parse("16"), Span.parse("0.5s")
    (Span(value=16.0, in_seconds=False), Span(value=0.5, in_seconds=True))
    >>> str(Span(0.5, True))
    '0.5s'
    """

    value: float
    in_seconds: bool = False

    @classmethod
    def parse(cls, text: str, name: str = "span") -> Self:
        """Read ``16`` (frames) or ``0.5s`` (seconds). Raises ``UserError``, which names the ``name``, otherwise."""
        found = re.fullmatch(r"(\d+|\d*\.\d+)(\s*s)?", text.strip())
        if not found or float(found[1]) == 0 or (not found[2] and "." in found[1]):
            raise UserError(f"{name} {text!r}: must be a number of frames like 16, or of seconds like 0.5s")
        return cls(float(found[1]), bool(found[2]))

    def __str__(self) -> str:
        return f"{self.value:g}{'s' if self.in_seconds else ''}"

    def frames(self, fps: float | None, path: str | None = None) -> float:
        """Return the number of frames, which need not be whole, in a video of that rate.

        Raises ``VideoError`` where seconds are given and the rate is not known.
        """
        if not self.in_seconds:
            return self.value
        if not fps:
            raise VideoError(path, f"has no frame rate, which {self} needs")
        return self.value * fps


@frozen(eq=False)
class Positions:
    """Where windows stand in a video.

    The video is divided into parts of ``stride`` frames from its beginning; each part whose middle lies inside the
    video is a position, and its window is centred on that middle. Windows may overlap or leave gaps. Where one
    reaches beyond an end of the video, the first or last frame stands for what is missing.

    >>> positions = Positions.of(10, 4, np.arange(4))
    >>> len(positions), positions.frames(1).tolist(), positions.frames(slice(None)).tolist()
    (2, [4, 5, 6, 7], [[0, 1, 2, 3], [4, 5, 6, 7]])
    >>> Positions.of(10, 4, np.arange(8)).frames(0).tolist()
    [0, 0, 0, 1, 2, 3, 4, 5]
    """

    total: int
    """Frames of the video."""
    stride: float
    """Frames from the middle of a position to that of the next; no more than the video has."""
    offsets: Array
    """(n,) int64: frames of a window, counted from its first."""
    middles: Array
    """(positions,) float64: where each window is centred, in frames from the beginning."""

    @classmethod
    def of(cls, total: int, stride: float, offsets: Array) -> Self:
        """Place windows in a video of ``total`` frames, at least 1."""
        stride = min(stride, total)  # a video that is shorter is one position
        return cls(total, stride, offsets, (np.arange(np.ceil(total / stride - 0.5)) + 0.5) * stride)

    def __len__(self) -> int:
        return len(self.middles)

    @property
    def covered(self) -> float:
        """Frames, from the beginning, that the positions stand for: up to half a stride less or more than there are."""
        return len(self) * self.stride

    def frames(self, which: int | slice) -> Array:
        """Return the frames (n,) of the window of a position, or those (positions, n) of several."""
        starts = np.floor(self.middles[which] - (self.offsets[-1] + 1) / 2 + 0.5).astype(np.int64)
        frames: Array = np.clip(starts[..., None] + self.offsets, 0, self.total - 1)
        return frames

    def wanted(self) -> Array:
        """Return the frames of all windows, each once, ascending."""
        found = np.zeros(self.total, np.bool_)
        for first in range(0, len(self), 1024):  # not all at once: windows of hours of video overlap
            found[self.frames(slice(first, first + 1024))] = True
        return np.flatnonzero(found)


@define(eq=False)
class ForwardReader(ReaderBase):
    """Reads windows that move forward, decoding each frame once and in order.

    It keeps the frames from the beginning of the window read last on, and forgets those before it. Closing it does
    nothing: the video stays open for the windows to come.
    """

    video: VideoReader
    wanted: Array
    """Every frame that will be asked for, ascending."""
    _read: int = 0
    _kept: dict[int, Array] = field(factory=dict)

    @property
    def path(self) -> str:
        return self.video.path

    @property
    def fps(self) -> float | None:
        """Frames per second."""
        return self.video.fps

    @property
    def decoder(self) -> str:
        return self.video.decoder

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.video.size

    def __len__(self) -> int:
        return len(self.video)

    def read(self, indices: Sequence[int] | Array) -> Array:
        """Return the frames of a window: (n, height, width, channels) uint8.

        Args:
            indices: ascending; the first is not before the first of the window read last.

        Raises:
            ValueError: the window is before one that was read already.
            VideoError: a frame cannot be had.
        """
        numbers = np.asarray(indices)
        until = int(np.searchsorted(self.wanted, numbers[-1], "right"))
        self._kept = {k: frame for k, frame in self._kept.items() if k >= numbers[0]}
        new = self.wanted[self._read : until]
        new = new[new >= numbers[0]]
        if len(new):
            self._kept |= zip(new.tolist(), self.video.read(new), strict=True)
        self._read = max(self._read, until)
        try:
            return np.stack([self._kept[k] for k in numbers.tolist()])
        except KeyError as error:
            raise ValueError(f"frame {error} is not wanted, or before a window that was read already") from None

    def close(self) -> None:
        """Do nothing."""


@frozen(eq=False)
class Position:
    """A place where the window stands."""

    number: int
    frames: Array
    """(n,) int64: frames in the window; at the ends of the video the first or last one is repeated."""
    start: float | None
    """Seconds at which the window begins, within the video; None where the frame rate is not known."""
    middle: float | None
    """Seconds on which the window is centred."""
    end: float | None
    """Seconds at which the window ends, within the video."""
    reader: ForwardReader
    """Reads ``frames``; may stand in a Sample as ``video``, with ``frames`` as the indices of its clip."""

    def read(self) -> Array:
        """Return the frames: (n, height, width, channels) uint8. Positions must be read in order, or left out."""
        return self.reader.read(self.frames)


def windows(
    video: VideoReader, length: Span | str | int, stride: Span | str | int, interval: int = 1
) -> Iterator[Position]:
    """Yield the positions of a window that slides over a video; see ``Positions`` for where they are.

    Args:
        video: open; stays open.
        length: of the window: frames (``16``) or seconds (``"2s"``).
        stride: from one position to the next.
        interval: take every so many-th frame of the window.

    Raises:
        UserError: a length is not valid.
        VideoError: seconds are given and the video has no frame rate, or it has no frames.
    """
    if interval < 1:
        raise UserError(f"interval must be at least 1, got {interval}")
    spans = [s if isinstance(s, Span) else Span.parse(str(s), n) for s, n in ((length, "length"), (stride, "stride"))]
    size, step = (span.frames(video.fps, video.path) for span in spans)
    if not len(video):
        raise VideoError(video.path, "has no frames")
    positions = Positions.of(len(video), step, np.arange(0, max(round(size), 1), interval))
    reader = ForwardReader(video, positions.wanted())
    for number, middle in enumerate(positions.middles.tolist()):
        start, end = max(middle - size / 2, 0.0), min(middle + size / 2, float(len(video)))
        seconds = [at / video.fps if video.fps else None for at in (start, middle, end)]
        yield Position(number, positions.frames(number), seconds[0], seconds[1], seconds[2], reader)
