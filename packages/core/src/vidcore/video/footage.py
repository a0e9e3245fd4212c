"""Frames and sound of a video as a player shows them: all of them, in order, each at its time.

Models get frames by number from exact readers. This module is for looking: damaged parts are shown as a player shows
them, and are counted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
from attrs import frozen
from av import Packet
from av.audio.stream import AudioStream
from av.error import FFmpegError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, VideoReformatter
from av.video.stream import VideoStream

from vidcore.errors import VideoError
from vidcore.typing import Array
from vidcore.video.checks import MAX_PIXELS, ReaderBase, existing_file, reading
from vidcore.video.container import open_container
from vidcore.video.reader import VideoReader
from vidcore.video.rotation import Orientation

__all__ = ["RATE", "FileFootage", "Footage", "PartFootage", "Picture", "ReaderFootage"]

UNSPECIFIED, HD = 2, 720
"""FFmpeg's number for an unknown matrix of colours; frames at least as high are then taken as BT.709, as players do."""
RATE = 25.0
"""Frames per second if a video has no rate."""
EPSILON = 1e-6
"""Seconds, or pictures, that rounding may move a boundary by."""
FINEST = 1_000_000
"""Times are in fractions of a second that are at most this fine."""


@frozen(eq=False)
class Picture:
    """A frame and when it is shown."""

    image: Array
    """(height, width, 3) uint8 RGB, upright; pixels may be wider than high (``Footage.aspect``)."""
    time: Fraction
    """Seconds, from the same origin as times of the sound."""
    duration: Fraction | None = None
    """Seconds until the next one, if known."""


class Footage(ReaderBase):
    """A video to look at: iterate over its pictures and, between them, the packets of its sound."""

    path: str
    rate: Fraction | None = None
    """Mean frames per second, if known."""
    unit: Fraction = Fraction(1, 90_000)
    """Seconds; times of pictures are multiples of it."""
    duration: float | None = None
    """Seconds, according to the header."""
    count: int | None = None
    """Number of pictures, according to the header."""
    aspect: float = 1.0
    """Width of a pixel, divided by its height; known after the first picture."""
    sound: AudioStream | None = None
    origin: Fraction = Fraction(0)
    """Time at which picture or sound begin."""
    damaged: int = 0
    """Frames so far that are missing, or that the decoder reports as damaged."""

    @abstractmethod
    def __iter__(self) -> Iterator[Picture | Packet[AudioStream]]:
        """Yield pictures and packets in the order of the file; raise ``VideoError`` if there are no pictures."""


class ReaderFootage(Footage):
    """What a reader of frames returns, such as that of a folder of frames; without sound.

    Args:
        reader: closed together with this object.
        rate: frames per second if the reader has none.
    """

    def __init__(self, reader: VideoReader, rate: float = RATE) -> None:
        self._reader = reader
        self.path, self.count = reader.path, len(reader)
        self.rate = Fraction(reader.fps or rate).limit_denominator(1001)
        self.unit = 1 / self.rate
        self.duration = float(self.count / self.rate)

    def __iter__(self) -> Iterator[Picture | Packet[AudioStream]]:
        for number in range(len(self._reader)):
            yield Picture(self._reader.read([number])[0], number * self.unit)
        if not self.count:
            raise VideoError(self.path, "has no frames")

    def close(self) -> None:
        """Close the reader."""
        self._reader.close()


class FileFootage(Footage):
    """What a player shows of a video file.

    Args:
        path: the file.

    Raises ``VideoError`` if the file is missing or has no video.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        with reading(path):
            self._container = open_container(existing_file(path), path)
            try:
                self._video = self._best_video()
            except BaseException:
                self._container.close()
                raise
            sound = self._container.streams.best("audio")
            if isinstance(sound, AudioStream) and sound.codec_context is not None:
                self.sound = sound
            self._describe()

    def _best_video(self) -> VideoStream:
        stream = self._container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            raise VideoError(self.path, "has no video stream that can be decoded")
        if stream.disposition & Disposition.attached_pic:
            raise VideoError(self.path, "has no video, only sound with a cover")
        return stream

    def _describe(self) -> None:
        stream, length = self._video, self._container.duration
        context = stream.codec_context
        context.options = {"max_pixels": str(MAX_PIXELS)}
        context.thread_type = "AUTO"
        self.rate = stream.average_rate or stream.guessed_rate
        if stream.time_base and self.unit.denominator % (parts := stream.time_base.denominator) and parts <= FINEST:
            self.unit = Fraction(1, parts)
        if stream.duration and stream.time_base:
            self.duration = float(stream.duration * stream.time_base)
        elif length:
            self.duration = length / 1_000_000
        begun = [s for s in (stream, self.sound) if s]
        starts = [s.start_time * s.time_base for s in begun if s.start_time is not None and s.time_base]
        self.origin = min(starts, default=Fraction(0))
        self.count = stream.frames or (round(self.duration * self.rate) if self.duration and self.rate else None)

    def __iter__(self) -> Iterator[Picture | Packet[AudioStream]]:
        with reading(self.path):
            yield from self._play()

    def _play(self) -> Iterator[Picture | Packet[AudioStream]]:
        clock, convert, missing = _Clock(self._container.format.name, self.rate), _Converter(), 0
        if "mp4" in self._container.format.name:  # has the frames that edit lists leave
            missing = len(self._video.index_entries)
        for packet in self._container.demux([self._video, *([self.sound] if self.sound else [])]):
            if isinstance(packet.stream, AudioStream):
                if packet.size:
                    yield cast("Packet[AudioStream]", packet)
                continue
            missing -= packet.size > 0
            clock.take(packet)
            try:
                frames = self._video.decode(cast("Packet[VideoStream]", packet))
            except FFmpegError:
                self.damaged += 1
                clock.lost()
                continue
            for frame in frames:
                self.damaged += frame.is_corrupt
                image = convert(frame)
                self.aspect = convert.aspect(self._video.sample_aspect_ratio)
                yield Picture(image, *clock(frame))
        self.damaged += max(missing, 0)
        if clock.last is None:
            raise VideoError(self.path, "has no frame that can be decoded")

    def close(self) -> None:
        """Close the file."""
        self._container.close()


class PartFootage(Footage):
    """A part of a video to look at: the pictures that are on the screen in it, and its sound, from the first picture.

    Args:
        whole: the video, which stays open.
        start: of the part.
        end: of the part, which is not included.
        in_seconds: whether both are seconds; otherwise numbers of pictures, from 0.

    Raises ``VideoError`` while it is played if the video ends before the part begins.
    """

    def __init__(self, whole: Footage, start: float, end: float, in_seconds: bool = True) -> None:
        self._whole, self._start, self._end, self._in_seconds = whole, start, end, in_seconds
        self.path, self.rate, self.unit, self.sound = whole.path, whole.rate, whole.unit, whole.sound
        self.origin = whole.origin
        rate = float(whole.rate or RATE)
        self.duration = end - start if in_seconds else (end - start) / rate
        self.count = round(self.duration * rate)

    def __iter__(self) -> Iterator[Picture | Packet[AudioStream]]:
        moved: Fraction | None = None
        step = 1 / (self.rate or Fraction(RATE))
        number = 0
        for item in self._whole:
            self.damaged, self.aspect = self._whole.damaged, self._whole.aspect
            if not isinstance(item, Picture):
                if moved is not None and _moved(item, moved) >= self.origin:
                    yield item
                continue
            shown = float(item.time - self.origin), float(item.time - self.origin + (item.duration or step))
            begins, ends = shown if self._in_seconds else (number, number + 1)
            number += 1
            if begins >= self._end - EPSILON:
                break
            if ends > self._start + EPSILON:
                if moved is None:
                    moved = item.time - self.origin
                yield Picture(item.image, item.time - moved, item.duration)
        if moved is None:
            raise VideoError(self.path, f"ends before its part from {self._start:g} begins")

    def close(self) -> None:
        """Do nothing: the whole video is closed by itself."""


def _moved(packet: Packet[AudioStream], seconds: Fraction) -> Fraction:
    """Let a packet of sound be heard earlier, and return when."""
    unit = packet.time_base
    if not unit or packet.pts is None:
        return seconds
    ticks = round(seconds / unit)
    packet.pts, packet.dts = packet.pts - ticks, None if packet.dts is None else packet.dts - ticks
    return packet.pts * unit


class _Clock:
    """Returns times of frames, which always increase, and their durations."""

    def __init__(self, container: str, rate: Fraction | None) -> None:
        self.last: Fraction | None = None
        self._step = 1 / rate if rate else 1 / Fraction(RATE)
        # AVI has no times of frames, only slots: the n-th frame that is shown has the n-th one
        self._slots: deque[Fraction] | None = deque() if container == "avi" else None

    def take(self, packet: Packet[Any]) -> None:
        """Note a packet that will be decoded."""
        if self._slots is not None and packet.size and packet.dts is not None and packet.time_base:
            self._slots.append(packet.dts * packet.time_base)

    def lost(self) -> None:
        """Forget the last packet: no frame came out of it."""
        if self._slots:
            self._slots.pop()

    def __call__(self, frame: VideoFrame) -> tuple[Fraction, Fraction | None]:
        unit = frame.time_base
        time = frame.pts * unit if frame.pts is not None and unit else None
        if self._slots is not None:
            time = self._slots.popleft() if self._slots else None
        if time is None or (self.last is not None and time <= self.last):
            time = Fraction(0) if self.last is None else self.last + self._step
        self.last = time
        return time, frame.duration * unit if frame.duration and unit else None


class _Converter:
    """Makes upright RGB images of the size of the first frame."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._orientation: Orientation | None = None
        self._size = (0, 0)

    def __call__(self, frame: VideoFrame) -> Array:
        if self._orientation is None:
            self._orientation = Orientation.of(frame)
            self._size = (frame.height, frame.width)
        height, width = self._size
        unknown = Colorspace.ITU709 if frame.height >= HD else Colorspace.ITU601
        matrix = unknown if frame.colorspace == UNSPECIFIED else None
        image = self._reformatter.reformat(frame, width, height, "rgb24", src_colorspace=matrix).to_ndarray()
        upright = np.empty((*self._orientation.size(self._size), 3), np.uint8)
        self._orientation.turn(image, upright)
        return upright

    def aspect(self, coded: Fraction | None) -> float:
        """Return the aspect of pixels after rotation; 1 for values that make no sense."""
        if not coded or not Fraction(1, 8) <= coded <= 8:
            return 1.0
        return float(1 / coded if self._orientation and self._orientation.transposed else coded)
