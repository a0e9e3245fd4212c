"""A sliding window over a video: clips at regular intervals. Each frame is decoded once, in order.

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

__all__ = ["ForwardReader", "Position", "Positions", "Span", "Tiles", "windows"]

EPSILON = 1e-6
"""Seconds that rounding may move a time by."""


@frozen
class Span:
    """A length of video in frames or in seconds.

    >>> Span.parse("16"), Span.parse("0.5s")
    (Span(value=16.0, in_seconds=False), Span(value=0.5, in_seconds=True))
    >>> str(Span(0.5, True))
    '0.5s'
    """

    value: float
    in_seconds: bool = False

    @classmethod
    def parse(cls, text: str, name: str = "span") -> Self:
        """Parse ``16`` or ``16f`` (frames) or ``0.5s`` (seconds). Raises ``UserError``, with ``name``, for others."""
        found = re.fullmatch(r"(\d+|\d*\.\d+)\s*([sf]?)", text.strip())
        if not found or float(found[1]) == 0 or (found[2] != "s" and "." in found[1]):
            raise UserError(f"{name} {text!r}: must be a number of frames like 16, or of seconds like 0.5s")
        return cls(float(found[1]), found[2] == "s")

    def __str__(self) -> str:
        return f"{self.value:g}{'s' if self.in_seconds else ''}"

    def frames(self, fps: float | None, path: str | None = None) -> float:
        """Return the number of frames, which may be fractional, in a video of that rate.

        Raises ``VideoError`` if the length is in seconds and the rate is not known.
        """
        if not self.in_seconds:
            return self.value
        if not fps:
            raise VideoError(path, f"has no frame rate, which {self} requires")
        return self.value * fps


@frozen(eq=False)
class Positions:
    """Positions of windows in a video.

    The video is divided into parts of ``stride`` frames from its beginning. Each part whose middle is inside the
    video is a position, and its window is centred on that middle. Windows may overlap or leave gaps. If a window
    extends beyond the video, the first or last frame is repeated.

    >>> positions = Positions.of(10, 4, np.arange(4))
    >>> len(positions), positions.frames(1).tolist(), positions.frames(slice(None)).tolist()
    (2, [4, 5, 6, 7], [[0, 1, 2, 3], [4, 5, 6, 7]])
    >>> Positions.of(10, 4, np.arange(8)).frames(0).tolist()
    [0, 0, 0, 1, 2, 3, 4, 5]
    """

    total: int
    """Frames of the video."""
    stride: float
    """Frames between the middles of neighbouring positions; at most the length of the video."""
    offsets: Array
    """(n,) int64: frames of a window, relative to its first."""
    middles: Array
    """(positions,) float64: centre of each window, in frames from the beginning."""

    @classmethod
    def of(cls, total: int, stride: float, offsets: Array) -> Self:
        """Place windows in a video of ``total`` frames, at least 1."""
        stride = min(stride, total)  # a shorter video has one position
        return cls(total, stride, offsets, (np.arange(np.ceil(total / stride - 0.5)) + 0.5) * stride)

    def __len__(self) -> int:
        return len(self.middles)

    @property
    def covered(self) -> float:
        """Frames, from the beginning, that the positions represent: within half a stride of ``total``."""
        return len(self) * self.stride

    def frames(self, which: int | slice) -> Array:
        """Return the frames of the window of one position, (n,), or of several, (positions, n)."""
        starts = np.floor(self.middles[which] - (self.offsets[-1] + 1) / 2 + 0.5).astype(np.int64)
        frames: Array = np.clip(starts[..., None] + self.offsets, 0, self.total - 1)
        return frames

    def wanted(self) -> Array:
        """Return the frames of all windows, each once, ascending."""
        found = np.zeros(self.total, np.bool_)
        for first in range(0, len(self), 1024):  # in parts: the overlapping windows of hours of video need much memory
            found[self.frames(slice(first, first + 1024))] = True
        return np.flatnonzero(found)


@frozen(eq=False)
class Tiles:
    """Windows over a whole video that start at regular distances from its beginning.

    The last one is the first that reaches the end of the video, which it may be shorter for. Windows in seconds contain
    the frames that are on the screen at some time between start and end, also if the frame rate varies.

    >>> tiles = Tiles.of(10, Span(4), Span(3))
    >>> tiles.first.tolist(), tiles.stop.tolist()
    ([0, 3, 6], [4, 7, 10])
    >>> Tiles.of(10, Span(1, True), Span(2, True), fps=4).seconds.tolist()
    [[0.0, 1.0], [2.0, 2.5]]
    """

    first: Array
    """(n,) int64: first frame of each window."""
    stop: Array
    """(n,) int64: frame after the last one."""
    seconds: Array | None
    """(n, 2) float64: start and end; None if the frame rate is not known."""

    @classmethod
    def of(
        cls,
        total: int,
        length: Span,
        stride: Span,
        fps: float | None = None,
        times: Array | None = None,
        path: str | None = None,
    ) -> Self:
        """Place windows in a video.

        Args:
            total: frames of the video, at least 1.
            length: of a window.
            stride: from the start of one window to that of the next.
            fps: frames per second (mean rate).
            times: (total,) ascending seconds at which frames appear, from 0; default: regular ones.
            path: of the video, for messages.

        Raises:
            UserError: the stride is shorter than a frame.
            VideoError: a length is in seconds, and the frame rate is not known.
        """
        if stride.frames(fps, path) < 1:
            raise UserError(f"stride {stride}: is shorter than a frame of {path} ({fps:g} frames per second)")
        length.frames(fps, path)  # requires the frame rate
        edges = None  # seconds at which frames appear, and at which the last one disappears
        if fps:
            times = np.arange(total) / fps if times is None else times
            edges = np.append(times, times[-1] + 1 / fps)
        start = end = None
        if stride.in_seconds and edges is not None:
            start = np.arange(np.ceil(edges[-1] / stride.value - EPSILON)) * stride.value
            first = np.searchsorted(edges[:-1], start + EPSILON, "right") - 1
        else:
            first = np.arange(0, total, int(stride.value))
            start = None if edges is None else edges[first]
        if length.in_seconds and edges is not None and start is not None:
            end = np.minimum(start + length.value, edges[-1])
            stop = np.maximum(np.searchsorted(edges[:-1], end - EPSILON, "left"), first + 1)
        else:
            stop = np.minimum(first + int(length.value), total)
            end = None if edges is None else edges[stop]
        reaching = np.flatnonzero(stop >= total)
        count = int(reaching[0]) + 1 if len(reaching) else len(first)
        seconds = None if start is None or end is None else np.stack([start, end], 1)[:count]
        return cls(first[:count], stop[:count], seconds)

    def __len__(self) -> int:
        return len(self.first)


@define(eq=False)
class ForwardReader(ReaderBase):
    """Reads windows that move forward, and decodes each frame once, in order.

    It keeps frames from the start of the last window, and drops earlier ones. Closing it does nothing, because the
    next windows need the video.
    """

    video: VideoReader
    wanted: Array
    """Every frame that will be read, ascending."""
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

    def read(self, indices: Sequence[int] | Array, start: int | None = None) -> Array:
        """Return the frames of a window: (n, height, width, channels) uint8.

        Args:
            indices: ascending; the first must not be before ``start`` of the previous window.
            start: first frame of the window, whose frames are kept; default: the first of ``indices``.

        Raises:
            ValueError: the window is before the previous one.
            VideoError: a frame cannot be read.
        """
        numbers = np.asarray(indices)
        start = int(numbers[0]) if start is None else start
        until = int(np.searchsorted(self.wanted, numbers[-1], "right"))
        self._kept = {k: frame for k, frame in self._kept.items() if k >= start}
        new = self.wanted[self._read : until]
        new = new[new >= start]
        if len(new):
            self._kept |= zip(new.tolist(), self.video.read(new), strict=True)
        self._read = max(self._read, until)
        try:
            return np.stack([self._kept[k] for k in numbers.tolist()])
        except KeyError as error:
            raise ValueError(f"frame {error} is not among those wanted, or before the previous window") from None

    def close(self) -> None:
        """Do nothing."""


@frozen(eq=False)
class Position:
    """A position of the window."""

    number: int
    frames: Array
    """(n,) int64: frames in the window; at the ends of the video the first or last is repeated."""
    start: float | None
    """Start of the window within the video, in seconds; None if the frame rate is not known."""
    middle: float | None
    """Centre of the window, in seconds."""
    end: float | None
    """End of the window within the video, in seconds."""
    reader: ForwardReader
    """Reads ``frames``; can be the ``video`` of a Sample with ``frames`` as the indices of its clip."""

    def read(self) -> Array:
        """Return the frames: (n, height, width, channels) uint8. Read positions in order; some may be left out."""
        return self.reader.read(self.frames)


def windows(
    video: VideoReader, length: Span | str | int, stride: Span | str | int, interval: int = 1
) -> Iterator[Position]:
    """Yield the positions of a sliding window over a video, as ``Positions`` places them.

    Args:
        video: an open reader, which stays open.
        length: of the window: frames (``16``) or seconds (``"2s"``).
        stride: from one position to the next.
        interval: use every Nth frame of the window.

    Raises:
        UserError: a length is not valid.
        VideoError: the video has no frames, or no frame rate, which lengths in seconds require.
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
