"""What a video file holds, found without decoding: which packet shows frame i, and where decoding may begin.

Demuxing costs about a hundredth of decoding, and afterwards nothing has to be guessed: packets are
handed to the decoder from here, numbered, so no container's idea of seeking is involved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av import Codec, Packet
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from vidcore.errors import VideoError
from vidcore.video.checks import existing_file

__all__ = ["Packets", "reason"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]

# fmt: off
ONE_FRAME_EACH = frozenset({
    "av1", "dnxhd", "ffv1", "flv1", "h263", "h264", "hevc", "huffyuv", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4",
    "msmpeg4v3", "prores", "rawvideo", "vp8", "vp9", "wmv1", "wmv2",
})
# fmt: on
"""Codecs whose packets give one frame each (after the care taken below); others are decoded to be counted."""

REORDER_LIMIT = 32
"""A frame farther from its place in the file than any codec can hold it back: time stamps that jump."""

KEPT_BYTES = 64 << 20
"""Packets of files up to this size stay in memory; of larger ones they are read again where needed."""


class _Note(NamedTuple):
    """What is remembered of a packet."""

    pts: int | None
    dts: int | None
    place: tuple[int | None, int]
    """Position in the file and size."""
    entry: bool
    corrupt: bool
    hidden: bool
    """Decoded but not shown."""
    kind: int | None
    """MPEG-4: 0 I, 1 P, 2 B, 3 S; None where unclear."""


class Packets:
    """The packets of a file's (best) video stream, in decoding order.

    A packet's ``pts`` is overwritten with its number, so that decoded frames say where they came from.

    Raises ``VideoError`` where the file is missing, or no video stream can be read from it.
    """

    order: Numbers | None
    """(frames,): number of the packet that shows frame i. None where packets alone do not prove it: then only
    decoding from the beginning and counting tells which frame is which."""
    entries: list[int]
    """Ascending packet numbers where decoding may begin, 0 first. A container's claim, to be checked."""
    begins_whole: bool
    """Whether the first packet needs none before it."""
    advertised: int
    """Number of frames the container promises; 0 where it promises nothing."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._notes: list[_Note] = []
        self._kept: list[Packet[VideoStream]] | None = []
        self._at = -1  # number of the last packet read where they are not kept
        existing_file(path)
        self._container, self.stream = self._open()
        try:
            self._index()
        except FFmpegError as error:
            self.close()
            raise VideoError(path, f"cannot be read to its end ({reason(error)})") from error
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._notes)

    def __getitem__(self, number: int) -> Packet[VideoStream]:
        """Return a packet; fastest where numbers ascend."""
        if self._kept is not None:
            return self._kept[number]
        if number != self._at + 1:
            self._seek(number)
        for packet in self._reading:
            self._at += 1
            if self._at == number:
                packet.pts = number
                return packet
        raise VideoError(self._path, "has changed while it was read")

    def reopen(self) -> None:
        """Begin anew, with a decoder that has seen nothing."""
        self._container.close()
        self._container, self.stream = self._open()
        self._reading: Iterator[Packet[VideoStream]] = self._read()
        self._at = -1

    def close(self) -> None:
        """Close the file and forget the packets."""
        self._container.close()
        self._kept = []

    def _open(self) -> tuple[InputContainer, VideoStream]:
        try:  # only times that are in the file, none that are inferred
            container = av.open(self._path, metadata_errors="ignore", container_options={"fflags": "nofillin"})
        except (FFmpegError, OSError) as error:
            raise VideoError(self._path, f"cannot be opened as a video ({reason(error)})") from error
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            container.close()
            raise VideoError(self._path, "has no video stream that can be decoded")
        return container, stream

    def _index(self) -> None:
        codec = self.stream.codec_context.codec
        size = 0
        self._reading = self._read()
        for packet in self._reading:
            self._at += 1
            self._notes.append(_note(packet, codec))
            size += packet.size
            if self._kept is not None:
                packet.pts = self._at
                self._kept.append(packet)
                if size > KEPT_BYTES:
                    self._kept = None
        # Of MP4 the demuxer knows which frames its edit lists leave over.
        mp4 = "mp4" in self._container.format.name
        promised = len(self.stream.index_entries) if mp4 else self.stream.frames
        cut = len(self._notes) < promised if promised else None
        while self._notes and self._notes[-1].corrupt:  # the file ends inside of this one
            self._notes.pop()
            cut = True
        if not self._notes:
            raise VideoError(self._path, "has a video stream without any frame")
        self.begins_whole = self._notes[0].entry
        proven = self.begins_whole and codec.canonical_name in ONE_FRAME_EACH
        self.order = _show_order(self._notes, codec, cut) if proven else None
        self.entries = [k for k, note in enumerate(self._notes) if k == 0 or note.entry]
        self.advertised = max(self.stream.frames, promised)

    def _read(self) -> Iterator[Packet[VideoStream]]:
        packets = (p for p in self._container.demux(self.stream) if p.size)
        if self.stream.codec_context.codec.canonical_name != "mpeg4":
            yield from packets
            return
        # DivX puts two frames into one packet and a placeholder into the next.
        unpack = BitStreamFilterContext("mpeg4_unpack_bframes", self.stream)
        for packet in packets:
            yield from unpack.filter(packet)
        yield from unpack.filter(None)

    def _seek(self, number: int) -> None:
        """Place the file at or before that packet; at its beginning where its packets cannot be told apart."""
        places = {note.place: k for k, note in enumerate(self._notes)}
        note = self._notes[number]
        time = note.pts if note.dts is None else note.dts
        if time is not None and len(places) == len(self) and note.kind is None:
            with suppress(FFmpegError, OSError):  # some containers cannot seek
                self._container.seek(time, stream=self.stream)
                reading = self._read()
                first = next(reading, None)
                at = places.get((first.pos, first.size)) if first is not None else None
                if first is not None and at is not None and at <= number:
                    self._reading, self._at = chain([first], reading), at - 1
                    return
        self.reopen()


def reason(error: Exception) -> str:
    """Return what FFmpeg has to say, without its decoration."""
    return getattr(error, "strerror", None) or str(error)


def _note(packet: Packet[VideoStream], codec: Codec) -> _Note:
    hidden, kind = packet.is_discard, None
    if codec.canonical_name == "vp8":
        hidden |= not bytes(packet)[0] & 0x10
    elif codec.canonical_name == "mpeg4":
        data = bytes(packet)
        start = data.find(b"\0\0\1\xb6")
        if start >= 0 and len(data) >= max(16, start + 5):  # shorter ones may only say "as before"
            kind = data[start + 4] >> 6
    place = (packet.pos, packet.size)
    return _Note(packet.pts, packet.dts, place, packet.is_keyframe, packet.is_corrupt, hidden, kind)


def _show_order(notes: list[_Note], codec: Codec, cut: bool | None) -> Numbers | None:
    """Return the packet of each frame in the order of showing, None where packets do not tell."""
    times = [n.pts for n in notes]
    if not codec.reorder:
        order = np.arange(len(notes))
    elif None not in times:
        stamps = np.array(times, np.int64)
        order = np.argsort(stamps)
        if len(set(times)) < len(times) or np.abs(order - np.arange(len(order))).max() > REORDER_LIMIT:
            return None
        order = _before_hole(stamps[order], order, notes[-1].dts, cut)
    elif codec.canonical_name == "mpeg4" and all(n.kind is not None for n in notes):
        order = _mpeg4_order([n.kind == 2 for n in notes])
        if cut:  # frames shown before the last one may be among what is lost
            order = order[:-1]
    else:
        return None
    if order[0] != 0:  # frames that refer to what was before the beginning
        return None
    shown: Numbers = order[[not notes[k].hidden for k in order.tolist()]]
    return shown


def _mpeg4_order(bidirectional: list[bool]) -> Numbers:
    """AVI has no times: I- and P-frames are shown after the B-frames behind them (ISO/IEC 14496-2, 6.1.3)."""
    order: list[int] = []
    held: list[int] = []
    for number, is_b in enumerate(bidirectional):
        if is_b:
            order.append(number)
        else:
            order += held
            held = [number]
    return np.array(order + held, np.int64)


def _before_hole(times: Numbers, order: Numbers, last: int | None, cut: bool | None) -> Numbers:
    """Leave out frames at the end of a cut file that have lost frames before them.

    A packet that is missing would have come after the last one present, which was decoded at ``last``:
    what is shown until then is complete. After it, a longer step in an otherwise constant rate is a hole;
    so it is taken to be where the container does not tell whether the file was cut (``cut`` None).
    """
    if last is None or cut is False:
        return order
    complete = int(np.searchsorted(times, last, "right"))
    steps = np.diff(times)
    holes = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1 if len(steps) else steps
    if (holes < complete).any():  # variable rate: steps say nothing
        return order[:complete] if cut else order
    return order[: holes[0]] if len(holes) else order
