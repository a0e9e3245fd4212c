"""Write videos that browsers play: MP4 with H.264 and AAC, whose index is in front."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.error import FFmpegError
from av.filter import Graph
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from av.video.stream import VideoStream

from vidcore.errors import UserError
from vidcore.files import atomic_path
from vidcore.typing import Array

__all__ = ["MovieWriter", "write_movie"]

ENCODERS = ("libx264", "libopenh264", "h264_videotoolbox", "h264_mf")
"""Encoders of H.264, best first; the wheels of PyAV have the first."""
OPTIONS = {"crf": "21", "preset": "veryfast", "bf": "0"}  # without B frames, packets have the times of their frames
BT709 = 1
"""FFmpeg's number for the matrix, primaries and transfer of BT.709."""
PLAYED = ("LC", "HE-AAC", "HE-AACv2")
"""Profiles of AAC that browsers play."""
RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


@contextmanager
def write_movie(
    path: Path,
    unit: Fraction,
    rate: Fraction | None = None,
    sound: AudioStream | None = None,
    origin: Fraction = Fraction(0),
) -> Iterator[MovieWriter]:
    """Write an MP4 file, which appears only when the block ends without an error.

    Args:
        path: the file; an existing one is replaced.
        unit: seconds; times of frames are rounded to multiples of it.
        rate: mean frames per second.
        sound: stream of another file whose packets will be written: copied if it is AAC, otherwise encoded as AAC.
        origin: time of the beginning, in seconds.

    Raises:
        UserError: this PyAV cannot encode H.264.
        OSError: the file cannot be written.
    """
    with atomic_path(path) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container:
                writer = MovieWriter(container, unit, rate, sound, origin)
                yield writer
                writer.finish()
        except FFmpegError as error:
            if not error.errno:
                raise
            raise OSError(error.errno, error.strerror, str(path)) from error


class MovieWriter:
    """See ``write_movie``."""

    def __init__(
        self,
        container: OutputContainer,
        unit: Fraction,
        rate: Fraction | None,
        sound: AudioStream | None,
        origin: Fraction,
    ) -> None:
        self._container, self._unit, self._rate, self._origin = container, unit, rate, origin
        self._source = sound
        self._video: VideoStream | None = None
        self._sound: _Copied | _Encoded | None = None
        self._waiting: list[Packet[AudioStream]] = []
        self._reformatter = VideoReformatter()
        self._next = 0
        self._durations: dict[int, int] = {}
        """In units, of frames that the encoder holds back."""

    def write(self, image: Array, time: Fraction, duration: Fraction | None = None) -> None:
        """Write a frame.

        Args:
            image: (height, width, 3) uint8 RGB, of the same size each time. The last row and column are repeated if
                their number is odd.
            time: when it is shown, in seconds.
            duration: how long, if it is the last one; default: one frame at the mean rate.
        """
        height, width = image.shape[:2]
        if height % 2 or width % 2:
            image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        if self._video is None:
            self._video = self._begin(*image.shape[:2])
            for packet in self._waiting:
                self.write_sound(packet)
            self._waiting.clear()
        frame = VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame = self._reformatter.reformat(
            frame, format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = max(round((time - self._origin) / self._unit), self._next), self._unit
        self._next = frame.pts + 1
        if duration:
            self._durations[frame.pts] = max(round(duration / self._unit), 1)
        self._mux(self._video.encode(frame))

    def write_sound(self, packet: Packet[AudioStream]) -> None:
        """Write a packet of the sound."""
        if self._video is None:  # its size is not known yet
            self._waiting.append(packet)
        elif self._sound is not None:
            self._container.mux(self._sound.packets(packet))

    def finish(self) -> None:
        """Write what the encoders hold back."""
        if self._video is not None:
            self._mux(self._video.encode(None))
        if self._sound is not None:
            self._container.mux(self._sound.rest())

    def _mux(self, packets: list[Packet[VideoStream]]) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts or 0, packet.duration)
            self._container.mux(packet)

    def _begin(self, height: int, width: int) -> VideoStream:
        encoder = next((name for name in ENCODERS if name in av.codecs_available), None)
        if encoder is None:
            raise UserError(f"this PyAV ({av.__version__}) cannot encode H.264; install the wheel: pip install av")
        rate = self._rate or Fraction(25)
        stream: Any = self._container.add_stream(encoder, rate=rate, options=OPTIONS)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt, context.time_base = width, height, "yuv420p", self._unit
        context.gop_size = max(round(2 * rate), 1)  # so that a player can jump to any second
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        if self._source is not None:
            copied = self._source.codec_context.name == "aac" and self._source.profile in PLAYED
            self._sound = (_Copied if copied else _Encoded)(self._container, self._source, self._origin)
        return stream  # type: ignore[no-any-return]


class _Copied:
    """Sound whose packets are copied."""

    def __init__(self, container: OutputContainer, source: AudioStream, origin: Fraction) -> None:
        self._origin = origin
        self._stream = container.add_stream_from_template(source)
        self._last: int | None = None

    def packets(self, packet: Packet[AudioStream]) -> list[Packet[AudioStream]]:
        """Return the packet with times since the beginning; none if its time is missing or not after the last one."""
        if packet.dts is None or packet.pts is None:
            return []
        shift = round(self._origin / packet.time_base)
        if self._last is not None and packet.dts - shift <= self._last:
            return []
        packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
        self._last = packet.dts
        packet.stream = self._stream
        return [packet]

    def rest(self) -> list[Packet[AudioStream]]:
        return []


class _Encoded:
    """Sound that is encoded as AAC."""

    def __init__(self, container: OutputContainer, source: AudioStream, origin: Fraction) -> None:
        self._origin = origin
        rate = next((r for r in RATES if r >= source.codec_context.sample_rate), RATES[-1])
        self._layout = "mono" if source.codec_context.layout.nb_channels == 1 else "stereo"
        self._stream: Any = container.add_stream("aac", rate=rate, layout=self._layout)
        self._rate = rate
        self._graph: Graph | None = None
        self._kind: tuple[Any, ...] = ()

    def packets(self, packet: Packet[AudioStream]) -> list[Packet[AudioStream]]:
        """Decode a packet, and return what the encoder makes of it; damaged packets become silence."""
        try:
            frames = packet.decode()
        except FFmpegError:
            return []
        found = []
        for frame in frames:
            if frame.pts is None or frame.time_base is None:
                continue
            frame.pts -= round(self._origin / frame.time_base)
            found += self._filtered(frame)
        return self._encoded(found)

    def rest(self) -> list[Packet[AudioStream]]:
        return [*self._encoded(self._filtered(None)), *self._stream.encode(None)]

    def _encoded(self, frames: list[AudioFrame]) -> list[Packet[AudioStream]]:
        return [packet for frame in frames for packet in self._stream.encode(frame)]

    def _filtered(self, frame: AudioFrame | None) -> list[AudioFrame]:
        """Convert a frame to the format of the encoder; gaps become silence, so that the sound stays in time."""
        kind = (frame.sample_rate, frame.format.name, frame.layout.name, frame.time_base) if frame else ()
        found = []
        if self._graph is not None and kind != self._kind:  # the end, or the sound changes
            self._graph.push(None)
            found += _pulled(self._graph)
            self._graph = None
        if frame is not None:
            if self._graph is None:
                self._graph, self._kind = self._new_graph(*kind), kind
            self._graph.push(frame)
            found += _pulled(self._graph)
        return found

    def _new_graph(self, rate: int, sample_format: str, layout: str, unit: Fraction) -> Graph:
        graph = Graph()
        parts = [
            graph.add(
                "abuffer", sample_rate=str(rate), sample_fmt=sample_format, channel_layout=layout, time_base=str(unit)
            ),
            graph.add("aresample", **{"async": "1"}),
            graph.add("aformat", sample_rates=str(self._rate), sample_fmts="fltp", channel_layouts=self._layout),
            graph.add("asetnsamples", n="1024", p="0"),
            graph.add("abuffersink"),
        ]
        for one, following in pairwise(parts):
            one.link_to(following)
        graph.configure()
        return graph


def _pulled(graph: Graph) -> list[AudioFrame]:
    found: list[AudioFrame] = []
    while True:
        try:
            found.append(graph.pull())  # type: ignore[arg-type]
        except (EOFError, FFmpegError):  # nothing is ready
            return found
