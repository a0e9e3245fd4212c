"""Reading the audio of videos and audio files, sample by sample."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition

from vidcore.errors import NoAudioError, VideoError
from vidcore.typing import Array
from vidcore.video.checks import ReaderBase, existing_file, reading
from vidcore.video.container import open_container, reason
from vidcore.video.reader import AudioReader

__all__ = ["PyAVAudioReader", "open_audio"]


MAX_CHANNELS = 64
LARGEST_JUMP = 0.05
"""Largest gap in seconds between frames, since containers round times. If a gap is larger, samples are missing, and the
numbers of all later samples are unknown."""
READ_BYTES = 1 << 30
"""Largest result of one ``read``: a few bytes of a file can encode hours of silence."""


def open_audio(path: str | Path) -> AudioReader:
    """Open the audio of a video, or an audio file.

    Raises ``VideoError``, naming the file, if it cannot be read, ``NoAudioError`` if it has no audio.

    Example::

        with open_audio("a.mp4") as audio:
            second = audio.read(10 * audio.rate, 11 * audio.rate)  # (channels, rate) float32
    """
    return PyAVAudioReader(path)


class PyAVAudioReader(ReaderBase):
    """Samples by number, exactly as decoding the whole file in order returns them, with PyAV.

    A timestamp does not identify its sample exactly (Matroska rounds to milliseconds), and the output of a lossy codec
    depends on what came before. So samples are counted from the beginning: reading forwards is cheap, going back
    decodes again from the beginning (AAC: about a millisecond per second of stereo). Uncompressed WAV files are read
    directly from any position.

    The best audio stream is read without resampling or mixing channels.

    Args:
        path: file with audio.

    Raises ``VideoError`` if the file is missing, has no audio (``NoAudioError``), or none of it can be decoded.
    """

    _frames: Iterator[AudioFrame]

    def __init__(self, path: str | Path) -> None:
        self.path, self._file = str(path), existing_file(path)
        with reading(path):
            self._start_reading()

    def _start_reading(self) -> None:
        self._begin()
        try:
            first = next(self._frames, None)
            if first is None:
                raise VideoError(self.path, "has audio, but none of it can be decoded")
            self.rate: int = first.sample_rate
            self.channels: int = first.layout.nb_channels
            if self.rate < 1 or not 1 <= self.channels <= MAX_CHANNELS:
                raise VideoError(self.path, f"has audio of {self.channels} channels at {self.rate} samples per second")
            self.start = self._delay(first)
            self._keep(first)
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _length(self) -> int:
        container, stream = self._open()
        with reading(self.path), closing(container):
            return sum(frame.samples for frame in self._decode(container, stream))

    @property
    def duration(self) -> float:
        """Seconds of audio. The file is decoded once to find it."""
        return len(self) / self.rate

    def read(self, start: int = 0, stop: int | None = None) -> Array:
        """Return samples ``start`` to ``stop`` (not included; default: the end): (channels, samples) float32.

        Raises:
            ValueError: ``start`` is negative, or ``stop`` is before it.
            VideoError: the file has fewer samples, is damaged before ``stop``, or this is more than ``READ_BYTES``.
        """
        if start < 0 or (stop is not None and stop < start):
            raise ValueError(f"samples {start} to {stop}: start must be at least 0, and stop at least start")
        if stop is not None:
            self._check_size(stop - start)
        with reading(self.path):
            return self._read(start, stop)

    def blocks(self, size: int) -> Iterator[Array]:
        """Yield all samples in order, ``size`` at a time; the last block may be shorter.

        Unlike ``read``, this does not require the length, which would be a decoding of its own.
        """
        start = 0
        while True:
            with reading(self.path):
                self._advance(start, start + size)
                stop = min(start + size, self._at)
                block = self._read(start, stop)
            if stop == start:
                return
            yield block
            start = stop

    def _advance(self, start: int, stop: int | None) -> None:
        """Decode until the samples ``start`` to ``stop`` are kept, or the file ends."""
        if start < self._kept_from:
            self._container.close()
            self._begin(start)
        while stop is None or self._at < stop:
            self._drop_before(start)
            self._check_size(self._at - start)
            frame = next(self._frames, None)
            if frame is None:
                break
            self._keep(frame)

    def _read(self, start: int, stop: int | None) -> Array:
        self._advance(start, stop)
        end = self._at if stop is None else stop
        if end > self._at or start > self._at:
            raise VideoError(self.path, f"sample {max(end - 1, start)} does not exist: there are {self._at} samples")
        self._drop_before(start)
        if start == end:
            return np.empty((self.channels, 0), np.float32)
        whole = np.concatenate(self._kept, axis=1)
        return np.ascontiguousarray(whole[:, start - self._kept_from : end - self._kept_from])

    def close(self) -> None:
        """Close the file and forget its samples."""
        self._kept.clear()
        self._frames = iter(())
        self._container.close()

    def _open(self) -> tuple[InputContainer, AudioStream]:
        container = open_container(self._file, self.path, "a file with audio")
        stream = container.streams.best("audio")
        if not isinstance(stream, AudioStream) or stream.codec_context is None:
            has = "no audio" if not container.streams.audio else "no audio that can be decoded"
            container.close()
            raise NoAudioError(self.path, f"has {has}")
        stream.codec_context.thread_type = "NONE"
        return container, stream

    def _begin(self, sample: int = 0) -> None:
        """Open the file to decode it from the beginning, or, if exact, from a position before a sample."""
        self._container, stream = self._open()
        self._kept: deque[Array] = deque()
        self._kept_from = self._at = 0  # the samples in ``_kept`` end before sample ``_at``
        self._frames = self._decode(self._container, stream)
        if sample and self._container.format.name == "wav" and stream.codec_context.name.startswith("pcm_"):
            unit = Fraction(1, self.rate)  # a WAV file counts time in samples
            self._container.seek(sample, stream=stream)
            first = next(self._frames, None)
            if first is None or first.pts is None or first.pts > sample or first.time_base != unit:
                self._container.close()
                self._begin()
                return
            self._kept_from = self._at = first.pts
            self._keep(first)

    def _decode(self, container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
        """Yield the frames in order. Damage at the end is left out; damage before the end raises."""
        count, broken, end = 0, "", None
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                frames = packet.decode()
            except FFmpegError as error:
                broken = broken or reason(error)
                continue
            for frame in frames:
                time = frame.time
                if end is not None and time is not None and abs(time - end) > LARGEST_JUMP:
                    broken = broken or f"the time jumps by {time - end:.3f} seconds"
                if broken:
                    raise VideoError(self.path, f"is damaged at sample {count} of its audio: {broken}")
                if packet.is_corrupt or frame.is_corrupt:
                    broken = "part of it is missing"
                    continue
                end = None if time is None else time + frame.samples / frame.sample_rate
                count += frame.samples
                yield frame

    def _keep(self, frame: AudioFrame) -> None:
        """Keep the samples of a frame."""
        if (frame.sample_rate, frame.layout.nb_channels) != (self.rate, self.channels):
            now = f"{frame.layout.nb_channels} channels at {frame.sample_rate} samples per second"
            raise VideoError(self.path, f"changes to {now} at sample {self._at} of its audio")
        values = frame.to_ndarray()
        if not frame.format.is_planar:
            values = values.reshape(-1, self.channels).T
        self._kept.append(_as_float(values))
        self._at += values.shape[1]

    def _drop_before(self, sample: int) -> None:
        while self._kept and self._kept_from + self._kept[0].shape[1] <= sample:
            self._kept_from += self._kept.popleft().shape[1]

    def _check_size(self, samples: int) -> None:
        if samples * self.channels * 4 > READ_BYTES:
            raise VideoError(self.path, f"{samples} samples of audio are too many at once; read them in parts")

    def _delay(self, first: AudioFrame) -> float:
        """Return the seconds from the start of the video to the start of the audio."""
        video = self._container.streams.best("video")
        if video is None or video.start_time is None or not video.time_base or first.time is None:
            return 0.0
        if video.disposition & Disposition.attached_pic:
            return 0.0
        return first.time - float(video.start_time * video.time_base)


def _as_float(values: Array) -> Array:
    """Convert samples of any type to float32, full scale from -1 to 1.

    >>> _as_float(np.array([[0, 128, 255]], np.uint8)).tolist()
    [[-1.0, 0.0, 0.9921875]]
    >>> _as_float(np.array([[-32768, 16384]], np.int16)).tolist()
    [[-1.0, 0.5]]
    """
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    half = 2.0 ** (8 * values.dtype.itemsize - 1)
    middle = half if values.dtype.kind == "u" else 0.0
    return ((values.astype(np.float64) - middle) / half).astype(np.float32)
