"""The packets of a video file: which one shows frame i, and where decoding may begin, without decoding.

Demuxing costs about a hundredth of decoding, and then nothing has to be guessed: the decoder gets numbered
packets from here, so seeking in the container is not involved.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen
from av import Packet
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from vidcore.errors import VideoError
from vidcore.video.checks import existing_file
from vidcore.video.container import open_container, reason
from vidcore.video.exact.bitstream import PictureReader, Pictures, lacks_idr
from vidcore.video.exact.h264 import read_headers
from vidcore.video.exact.order import PROGRESSIVE, Gap, Note, by_pts, is_steady, joined, show_order
from vidcore.video.exact.structure import PLACEHOLDER, Part, avi_frames, avi_slots, damaged_parts
from vidcore.video.exact.table import PacketTable

__all__ = ["Packets"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]

KEPT_BYTES, OVERHEAD = 32 << 20, 640
"""Packets of files up to this size stay in memory; those of larger files are read again when needed. An hour of frames
of a few bytes takes as much memory beside them."""

CONTRADICTED = 0.1
"""Largest share of frames whose order is contradictory because of damage. If there are more, the container has another
idea of time."""
FEW = 32
"""With fewer packets, a constant rate is not obvious."""

NEAR = 256
"""Packets that are read faster than by seeking."""

DAMAGED = Pictures(damaged=True)

REMEMBERED = 1 << 20
"""Number of packets whose index a process keeps for files that are opened again, in about 45 bytes each."""


@frozen
class _Index:
    """The index of an intact file."""

    table: PacketTable
    order: Numbers
    keys: frozenset[int]
    steady: bool
    starts_at_keyframe: bool
    cut: bool | None
    advertised: int
    rate: float | None


class _Indexes:
    """Indexes by file, until ``REMEMBERED`` packets are exceeded: those used least recently are forgotten."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str | int, ...], _Index] = OrderedDict()
        self._packets = 0

    @staticmethod
    def identity(path: str) -> tuple[str | int, ...]:
        """Return what changes when the file does."""
        about = os.stat(path)
        return path, about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns

    def get(self, key: tuple[str | int, ...]) -> _Index | None:
        with suppress(KeyError):
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def add(self, key: tuple[str | int, ...], index: _Index) -> None:
        if self._kept.setdefault(key, index) is index:
            self._packets += len(index.table)
        while self._packets > REMEMBERED:
            self._packets -= len(self._kept.popitem(last=False)[1].table)


_indexes = _Indexes()


class Packets:
    """The packets of a file's (best) video stream, in decoding order.

    The ``pts`` of a packet is overwritten with its number, which identifies decoded frames.

    Raises ``VideoError`` if the file is missing, or no video stream can be read from it.
    """

    order: Numbers | None
    """(frames,): number of the packet that shows frame i, -1 if it is lost. None if packets do not prove it: then
    frames must be decoded from the beginning and counted."""
    keys: frozenset[int]
    """Packets that the container marks as key frames."""
    entries: list[int]
    """Entry points: ascending numbers of packets where decoding may begin, 0 first, as the container claims."""
    gaps: list[Gap]
    """Where packets are damaged or missing: frames from there to the next key frame may refer to them."""
    steady: bool
    """Whether no timestamp can be wrong: frames are shown at a constant rate, or headers prove their order."""
    starts_at_keyframe: bool
    """Whether the first packet is a key frame."""
    cut: bool | None
    """Whether packets are missing at the end; None if unknown."""
    one_each: bool
    """Whether each packet surely has one frame, so that packets whose frames are lost can be counted."""
    advertised: int
    """Number of frames according to the container; 0 if unknown."""
    rate: float | None
    """Frames per second according to the container, or to the stream if the container has none, unless that is a frame
    or more off at the end of the file. (Headers of browser recordings may state 1000.)"""

    def __init__(self, path: str | Path) -> None:
        self._path, self._file = str(path), existing_file(path)
        self._notes: list[Note] = []
        self._table: PacketTable | None = None  # replaces them once all are there
        self._kept: list[Packet[VideoStream]] | None = []
        self._at = -1  # number of the last packet read, if they are not kept
        self._reading: Iterator[Packet[VideoStream]] = iter(())  # the packets after it
        identity = _indexes.identity(self._file)
        self._container, self.stream = self._open()
        known = _indexes.get(identity)
        if known is not None:
            self._recall(known)
            return
        try:
            self._index()
            self._table, self._notes = PacketTable.of(self._notes), []
            self._remember(identity)
        except FFmpegError as error:
            self.close()
            raise VideoError(path, f"cannot be read to its end ({reason(error)})") from error
        except BaseException:
            self.close()
            raise

    def _remember(self, identity: tuple[str | int, ...]) -> None:
        """Keep the index of an intact file. (Damage is found while packets are read, and changes with it.)"""
        assert self._table is not None
        if self.order is None or self.gaps or self.cut or not self._table.can_seek or self.order.min() < 0:
            return
        facts = (self.steady, self.starts_at_keyframe, self.cut, self.advertised, self.rate)
        _indexes.add(identity, _Index(self._table, self.order, self.keys, *facts))

    def _recall(self, index: _Index) -> None:
        self._table, self.order, self.keys = index.table, index.order, index.keys
        self.steady, self.starts_at_keyframe, self.cut = index.steady, index.starts_at_keyframe, index.cut
        self.advertised, self.rate = index.advertised, index.rate
        self.entries, self.gaps, self.one_each = sorted({0, *self.keys}), [], False
        self._kept, self._reading = None, self._read()

    def __len__(self) -> int:
        return len(self._notes) if self._table is None else len(self._table)

    def __getitem__(self, number: int) -> Packet[VideoStream]:
        """Return a packet; fastest if numbers ascend."""
        if self._kept is not None:
            return self._kept[number]
        if not self._at < number <= self._at + NEAR:
            self._seek(number)
        for packet in self._reading:
            self._at += 1
            if self._at == number:
                packet.pts = number
                return packet
        raise VideoError(self._path, "has changed while it was read")

    def times(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Return the seconds at which frames appear, (frames,) ascending from 0; None if they are not known."""
        unit = self.stream.time_base
        if self.order is None or self._table is None or not unit:
            return None
        known = np.flatnonzero(self.order >= 0)
        stamps = self._table.stamps(self.order[known])
        if stamps is None:
            return None
        seconds = np.interp(np.arange(len(self.order)), known, (stamps - stamps[0]).astype(np.float64)) * float(unit)
        return seconds if (np.diff(seconds) > 0).all() else None

    def reopen(self) -> None:
        """Open the file again, with a new decoder."""
        self._container.close()
        self._container, self.stream = self._open()
        self._reading = self._read()
        self._at = -1

    def close(self) -> None:
        """Close the file and drop the packets."""
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
        size, resets, discarded = 0, True, False
        read_pictures = PictureReader(codec, context.extradata)
        same: dict[Pictures, Pictures] = {}
        self._reading = self._read()
        for packet in self._reading:
            self._at += 1
            found, place = read_pictures(packet), (packet.pos, packet.size)
            found = same.setdefault(found, found)  # a few distinct ones, in a hundred thousand packets
            entry, corrupt = packet.is_keyframe and not found.predicted, packet.is_corrupt
            self._notes.append(Note(packet.pts, packet.dts, place, entry, corrupt, packet.is_discard, found))
            if codec == "h264" and not self._at:
                resets = not lacks_idr(packet, context.extradata)
                if resets:  # a damaged key frame is not marked as one
                    self._notes[0] = self._notes[0]._replace(entry=True)
            discarded |= packet.is_discard
            size += packet.size + OVERHEAD
            if self._kept is not None:
                packet.pts = self._at
                self._kept.append(packet)
                if size > KEPT_BYTES:
                    self._kept = None
        # For MP4, the demuxer has the frames that edit lists leave.
        mp4 = "mp4" in self._container.format.name
        promised = len(self.stream.index_entries) if mp4 else self.stream.frames
        self.cut = self._reaches() < promised if promised else None
        if self.cut is False and promised < self.stream.frames:  # an edit list, or a damaged index
            self.cut = None
        while self._notes and self._notes[-1].corrupt:  # the file ends inside this one
            self._notes.pop()
            self.cut = True
        if not self._notes:
            raise VideoError(self._path, "has a video stream without any frame")
        for number in filter(self._should_show, read_pictures.unseen):
            damaged = same.setdefault(DAMAGED, DAMAGED)
            self._notes[number] = self._notes[number]._replace(pictures=damaged)
        self.starts_at_keyframe = self._notes[0].entry
        self.gaps = self._find_gaps(same)
        slots = avi_slots(self._file) if self.gaps and self._container.format.name == "avi" else None
        self.order = show_order(self._notes, context, self.cut, self.gaps, slots or None) if resets else None
        wrong = {k for k, note in enumerate(self._notes) if note.pictures.damaged} | read_pictures.misleading
        self.gaps = sorted({*self.gaps, *(Gap(k, k + 1) for k in wrong)})
        self.steady = is_steady(self._notes)
        few = self.cut is None and len(self) < FEW
        if not self.steady or few or discarded:
            self._check_times()
        self.one_each = resets and not self.gaps and self._is_one_each()
        self.keys = frozenset([k for k, note in enumerate(self._notes) if note.entry])
        self.entries = sorted({0, *self.keys})
        self.advertised = max(self.stream.frames, promised)
        self.rate = self._rate()

    def _is_one_each(self) -> bool:
        """Return whether the container, not a search for beginnings, keeps frames of progressive H.264 apart."""
        context, places = self.stream.codec_context, [note.place for note in self._notes]
        kept_apart = any(name in self._container.format.name for name in ("avi", "flv", "matroska", "mp4"))
        if not kept_apart or context.codec.canonical_name != "h264" or any(note.discarded for note in self._notes):
            return False
        if self._container.format.name == "avi" and places != avi_frames(self._file):
            return False  # FFmpeg believes what the index or a chunk says, and one is damaged
        apart = all(at is not None and at + size <= (then or 0) for (at, size), (then, _) in pairwise(places))
        return apart and context.field_order <= PROGRESSIVE and min(size for _, size in places) >= PLACEHOLDER

    def _should_show(self, number: int) -> bool:
        """Return whether a packet has a time of its own at which a frame is missing.

        Hidden frames of VP9 and AV1 have none: they share a packet, or at least its time. Those of VP8 have times that
        are not regular.
        """
        if self.stream.codec_context.codec.canonical_name == "vp8":
            return is_steady(self._notes)
        near = [note.pts for note in self._notes[max(number - 1, 0) : number + 2]]
        return None not in near and len(set(near)) == len(near)

    def _check_times(self) -> None:
        """Check timestamps that are not regular: a wrong one would change the numbers of frames between."""
        context, packets = self.stream.codec_context, self._kept
        headers = None
        if packets is not None and context.codec.canonical_name == "h264":
            headers = read_headers(map(bytes, packets[: len(self)]), context.extradata)
        if any(note.discarded for note in self._notes):
            self._check_edits(None if headers is None else headers.order)
        if headers is None or self.gaps:
            return
        if self.order is not None:
            self.steady, self.order = True, _proven(self.order, headers.order)
        lost = sorted({*headers.gaps, *headers.holes})
        if not lost or len(headers.holes) > 2 + CONTRADICTED * len(self):  # pictures are numbered in another way
            return
        if self.order is not None and lost[0] >= headers.last:
            after = np.flatnonzero(np.isin(self.order, headers.holes)).tolist()
            if self.cut is not False:  # the file was cut
                self.order = self.order[: after[0]] if after else self.order
                return
            # The beginning of a longer video, copied, may lack frames that are shown before its last one.
            if after and not headers.gaps and after[0] + context.reorder_depth >= len(self.order) and self._is_whole():
                return
        self.gaps = [Gap(k, k) for k in lost]
        if self.order is not None:
            self.order = show_order(self._notes, context, self.cut, self.gaps)

    def _is_whole(self) -> bool:
        """Return whether the container states exactly these packets: their number, and the time from first to last."""
        times = [note.dts for note in self._notes if note.dts is not None]
        if not 1 < len(times) == len(self) == self.stream.frames or not self.stream.duration:
            return False
        rest = self.stream.duration - (times[-1] - times[0])
        return 0 < rest < 1.9 * (times[-1] - times[-2])

    def _check_edits(self, order: Numbers | None) -> None:
        """Check that an edit list leaves out frames at the beginning and the end only, and in the order of decoding."""
        by_time = by_pts(self._notes)
        if not any(note.shown for note in self._notes):
            raise VideoError(self._path, "has an edit list that leaves out all frames")
        if order is None:
            order = by_time if self.stream.codec_context.codec.reorder else np.arange(len(self))
        shown = np.flatnonzero([self._notes[k].shown for k in by_time.tolist()])
        right = _agree(by_time, order) and len(shown) > int(np.ptp(shown))
        if right and self.steady and shown[0] and self.stream.duration and len(self) > 1:
            last, sooner = (self._notes[k].pts or 0 for k in by_time[[-1, -2]].tolist())
            right = bool(self.stream.duration - last < 1.9 * (last - sooner))  # otherwise the list wants more frames
        if not right:
            raise VideoError(self._path, "has timestamps that contradict its edit list or its frames")

    def _find_gaps(self, kinds: Iterable[Pictures]) -> list[Gap]:
        """Compare the packets, which have pictures of these kinds, with the structure of the container."""
        notes, name = self._notes, self._container.format.name
        places = [note.place[0] for note in notes if note.place[0] is not None]
        if "mp4" in name and self.cut and len(self.stream.index_entries) > len(notes):  # some could not be read
            found = frozenset(places)
            lost = [e.pos for e in self.stream.index_entries if e.pos not in found]
            self.cut = bool(lost) and lost[-1] > max(places, default=0)
            parts: list[Part] | None = [Part(place, place + 1) for place in lost]
        else:
            parts = damaged_parts(self._file, name, self.stream.id, frozenset(places))
        if parts is None or len(places) < len(notes):  # only what FFmpeg reports
            flags = name == "mpegts"  # a program stream's mean little
            return [Gap(k, k + 1) for k, n in enumerate(notes) if n.pictures.damaged or (n.corrupt and flags)]
        starts = np.array(places, np.int64)
        ends = starts + np.array([note.place[1] for note in notes], np.int64)
        if name == "mpegts":  # other packets lie between those of a frame
            notes[:] = [n._replace(corrupt=False) if n.corrupt else n for n in notes]  # the same breaks, and joints
            ends[:-1] = starts[1:]
        elif self.cut is None and "mp4" not in name and (parts or name != "flv"):  # an FLV may be cut between two tags
            self.cut = bool(parts) and parts[-1].end >= os.path.getsize(self._file)
        # Of a damaged packet it may be unknown whether it shows a frame, or in which order.
        unclear = any(kind.kind == 2 or not kind.shown for kind in kinds)
        gaps = [Gap(k, k + 1) for k, n in enumerate(notes) if n.corrupt or (unclear and n.pictures.damaged)]
        for part in parts:
            hit = np.flatnonzero((starts < part.end) & (ends > part.start))
            first = int(hit[0]) if len(hit) else int(np.searchsorted(starts, part.end))
            if not (part.joint and joined(notes, first)) and first < len(notes):
                gaps.append(Gap(first, int(hit[-1]) + 1 if len(hit) else first))
        return sorted(gaps)

    def _rate(self) -> float | None:
        stated, unit = self.stream.average_rate, self.stream.time_base
        if not stated or not any(time is not None for time in (*self._notes[0][:2], *self._notes[-1][:2])):
            stated = self.stream.codec_context.framerate  # raw streams: FFmpeg states 25 for all
        count = 0 if self.order is None or self.order[0] < 0 else len(self.order) - 1
        # timestamps of a transport stream may jump
        if self.order is not None and count > 0 and unit and "mpeg" not in self._container.format.name:
            first, last = (self._notes[k].pts for k in self.order[[0, -1]])  # the last is never lost
            if first is not None and last is not None and last > first:
                seconds = float((last - first) * unit)
                if not stated or abs(count / stated - seconds) > seconds / count:
                    return count / seconds
        return float(stated) if stated else None

    def _reaches(self) -> int:
        """Return the number of frame slots up to the last packet; AVI may have slots without a frame."""
        count = len(self._notes)
        if count < 2 or "avi" not in self._container.format.name or self._notes[-1].dts is None:
            return count
        return max(count, -(-self._notes[-1].dts * count // (count - 1)))  # plus one mean step after the last

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
        """Seek to that packet or before it; only back to the beginning if packets cannot be identified."""
        assert self._table is not None
        time = self._table.time_to_seek(number) if number else None
        if time is None and number > self._at:
            return
        if time is not None:
            with suppress(FFmpegError, OSError):  # some containers cannot seek
                self._container.seek(time, stream=self.stream)
                reading = self._read()
                first = next(reading, None)
                at = self._table.number(first.pos, first.size) if first is not None else None
                if first is not None and at is not None and at <= number:
                    self._reading, self._at = chain([first], reading), at - 1
                    return
        self.reopen()


def _proven(order: Numbers, other: Numbers) -> Numbers | None:
    """Return the first order, with -1 where another contradicts it; None if it does so in many places."""
    both = {*order.tolist()} & {*other.tolist()}
    expected = iter([k for k in other.tolist() if k in both])
    found = np.array([k if k not in both or k == next(expected) else -1 for k in order.tolist()], np.int64)
    return found if (found < 0).sum() <= CONTRADICTED * len(found) else None


def _agree(one: Numbers, other: Numbers) -> bool:
    """Return whether the packets that are in both are in the same order."""
    both = {*one.tolist()} & {*other.tolist()}
    return [k for k in one.tolist() if k in both] == [k for k in other.tolist() if k in both]
