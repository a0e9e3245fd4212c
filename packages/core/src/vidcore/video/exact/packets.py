"""What a video file holds, found without decoding: which packet shows frame i, and where decoding may begin.

Demuxing costs about a hundredth of decoding, and afterwards nothing has to be guessed: packets are
handed to the decoder from here, numbered, so no container's idea of seeking is involved.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from av import Packet
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from vidcore.errors import VideoError
from vidcore.video.checks import existing_file
from vidcore.video.container import open_container, reason
from vidcore.video.exact.bitstream import has_idr, pictures
from vidcore.video.exact.order import Note, show_order

__all__ = ["Packets"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]

KEPT_BYTES = 64 << 20
"""Packets of files up to this size stay in memory; of larger ones they are read again where needed."""


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
    gaps: list[int]
    """Packets from which on frames may refer to something missing, until the next picture that refers to none."""
    starts_at_keyframe: bool
    """Whether the first packet needs none before it."""
    cut: bool | None
    """Whether packets are missing at the end; None where the container does not tell."""
    advertised: int
    """Number of frames the container promises; 0 where it promises nothing."""
    rate: float | None
    """Frames per second: what the container states, unless that is a frame or more off at the end of the file. (The
    header of a browser's recording may say 1000.)"""

    def __init__(self, path: str | Path) -> None:
        self._path, self._file = str(path), existing_file(path)
        self._notes: list[Note] = []
        self._kept: list[Packet[VideoStream]] | None = []
        self._at = -1  # number of the last packet read where they are not kept
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
        container = open_container(self._file, self._path, fflags="nofillin")  # only times that are in the file
        stream = container.streams.best("video")
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            container.close()
            raise VideoError(self._path, "has no video stream that can be decoded")
        if stream.disposition & Disposition.attached_pic:
            container.close()
            raise VideoError(self._path, "has no video, only sound with a cover")
        return container, stream

    def _index(self) -> None:
        context = self.stream.codec_context
        codec = context.codec.canonical_name
        size, resets = 0, True
        self._reading = self._read()
        for packet in self._reading:
            self._at += 1
            found, place = pictures(codec, packet), (packet.pos, packet.size)
            entry, corrupt = packet.is_keyframe, packet.is_corrupt
            self._notes.append(Note(packet.pts, packet.dts, place, entry, corrupt, packet.is_discard, found))
            if codec == "h264" and not self._at:
                resets = has_idr(packet, context.extradata)
            size += packet.size
            if self._kept is not None:
                packet.pts = self._at
                self._kept.append(packet)
                if size > KEPT_BYTES:
                    self._kept = None
        # Of MP4 the demuxer knows which frames its edit lists leave over.
        mp4 = "mp4" in self._container.format.name
        promised = len(self.stream.index_entries) if mp4 else self.stream.frames
        self.cut = self._reaches() < promised if promised else None
        while self._notes and self._notes[-1].corrupt:  # the file ends inside of this one
            self._notes.pop()
            self.cut = True
        if not self._notes:
            raise VideoError(self._path, "has a video stream without any frame")
        self.starts_at_keyframe = self._notes[0].entry
        self.order = show_order(self._notes, context, self.cut) if resets else None
        self.gaps = _gaps(self._notes) if self._container.format.name == "mpegts" else []
        self.entries = [k for k, note in enumerate(self._notes) if k == 0 or note.entry]
        self.advertised = max(self.stream.frames, promised)
        self.rate = self._rate()

    def _rate(self) -> float | None:
        stated, unit = self.stream.average_rate, self.stream.time_base
        count = 0 if self.order is None else len(self.order) - 1
        # of a transport stream the times may jump
        if self.order is not None and count > 0 and unit and "mpeg" not in self._container.format.name:
            first, last = (self._notes[k].pts for k in self.order[[0, -1]])
            if first is not None and last is not None and last > first:
                seconds = float((last - first) * unit)
                if not stated or abs(count / stated - seconds) > seconds / count:
                    return count / seconds
        return float(stated) if stated else None

    def _reaches(self) -> int:
        """Return for how many frames there is a place up to the last packet: AVI has places without a frame as well."""
        count = len(self._notes)
        if count < 2 or "avi" not in self._container.format.name or self._notes[-1].dts is None:
            return count
        return max(count, -(-self._notes[-1].dts * count // (count - 1)))  # as far again behind the last as between

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
        if time is not None and len(places) == len(self) and note.pictures.kind is None:
            with suppress(FFmpegError, OSError):  # some containers cannot seek
                self._container.seek(time, stream=self.stream)
                reading = self._read()
                first = next(reading, None)
                at = places.get((first.pos, first.size)) if first is not None else None
                if first is not None and at is not None and at <= number:
                    self._reading, self._at = chain([first], reading), at - 1
                    return
        self.reopen()


def _gaps(notes: Sequence[Note]) -> list[int]:
    """Where a counter in the transport stream has a gap, unless files were put one behind the other.

    There the new one begins with an entry, at the next packet or (parsers hold one back) the one after it.
    """
    found = [k for k, note in enumerate(notes) if note.corrupt]
    return [k for k in found if not any(note.entry for note in notes[k + 1 : k + 3])]
