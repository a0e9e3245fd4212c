"""Decoded frames by number, with as little decoding as possible, and verified."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from av.codec.codec import codecs_available
from av.codec.context import CodecContext, Flags2
from av.error import FFmpegError
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from vidcore.errors import VideoError
from vidcore.video.checks import MAX_PIXELS, frame_numbers
from vidcore.video.exact.order import REORDER_LIMIT
from vidcore.video.exact.packets import CONTRADICTED, Packets

__all__ = ["FrameFinder"]

SKIP_SAFE = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})
"""Codecs in which skipping a frame that no other frame refers to has no effect on other frames."""

TOLERATED = frozenset({"tiff"})
"""Codecs whose decoders report intact files as damaged."""


Numbers = np.ndarray[Any, np.dtype[np.int64]]


STRICT = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""Decoders that notice damage which FFmpeg's own decode to some picture: data left over after the last block."""


class _NotProven(Exception):
    """The decoded frames contradict the order of the packets."""


class _NoEntry(Exception):
    """Decoding cannot begin at this packet, although the container marks it as a key frame."""


class FrameFinder:
    """Frames by number, exactly as decoding the whole file in order shows them.

    Decoding begins at the nearest entry point before a frame, and frames that are not requested are decoded only
    if requested ones need them. Decoded frames are checked against the order of the packets; if they contradict
    it, the file is decoded from its beginning and frames are counted.

    Args:
        path: video file.
        threads: threads of the decoder; 0 lets it choose.
        motion: have the decoder attach motion vectors.

    Raises ``VideoError`` if the file is missing, is not a video, or nothing in it can be decoded.
    """

    def __init__(self, path: str | Path, threads: int = 1, motion: bool = False) -> None:
        self.path = str(path)
        self._packets = Packets(path)
        self._threads, self._motion = threads, motion
        self.fps, self.advertised = self._packets.rate, self._packets.advertised
        self._context = self._decoder()
        coded = self._packets.stream.codec_context
        self.coded_size = (coded.height, coded.width)
        self._keys = sorted(self._packets.keys)
        self._skips = self._context.codec.canonical_name in SKIP_SAFE and self._packets.steady
        self._next = 0  # next packet for the decoder
        self._began = 0  # packet where decoding began
        self._entry: int | None = None  # the same, until its frame is decoded
        self._last = -1  # last frame decoded since then
        self._inside: set[int] = set()  # packets in the decoder whose frames are not yet returned
        self._ahead: dict[int, VideoFrame] = {}  # decoded frames that are not verified, or after the last one requested
        self._place: dict[int, int] = {}  # frame that a packet shows
        self._ceiling: Numbers = np.empty(0, np.int64)  # last frame that it or a packet before it shows
        self._length = 0
        self._running: Iterator[tuple[int, VideoFrame]] = iter(())  # when counting: remaining frames
        self._shown = 0  # when counting: number of the next frame
        self._whole: list[bool] = []  # when counting: whether each frame is intact
        try:
            self._find_length()
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return self._length

    def times(self) -> np.ndarray[Any, np.dtype[np.float64]] | None:
        """Return the seconds at which frames appear, from 0; None if packets do not prove them."""
        return self._packets.times()

    def frames(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> Iterator[tuple[list[int], VideoFrame]]:
        """Yield every requested frame, in the order of decoding, with its positions among the indices.

        A frame that turns out to be wrong is yielded again.
        """
        slots: dict[int, list[int]] = {}
        for slot, number in enumerate(frame_numbers(self.path, indices, len(self), self.advertised).tolist()):
            slots.setdefault(number, []).append(slot)
        while True:
            try:
                for number, frame in self._run(slots) if self._packets.order is None else self._find(slots):
                    yield slots[number], frame
                return
            except _NoEntry:  # begin at an earlier entry point
                self._begin(0)
            except _NotProven:
                self._count()
                frame_numbers(self.path, [*slots], len(self), self.advertised)

    def close(self) -> None:
        """Close the file; drop packets and frames."""
        self._packets.close()
        self._ahead.clear()
        self._running = iter(())

    def _decoder(self) -> VideoCodecContext:
        context = self._packets.stream.codec_context
        strict = STRICT.get(context.codec.canonical_name, "")
        self._strict = strict in codecs_available
        if self._strict:
            extradata, context = context.extradata, cast(VideoCodecContext, CodecContext.create(strict, "r"))
            context.extradata = extradata
        # Raise for damage, instead of concealing it.
        explode = {} if context.codec.canonical_name in TOLERATED else {"err_detect": "explode"}
        context.options = {"max_pixels": str(MAX_PIXELS), **explode}
        context.thread_count = self._threads
        context.thread_type = "NONE" if self._threads == 1 else "AUTO"
        if self._motion:
            context.flags2 |= Flags2.export_mvs
        return context

    def _find_length(self) -> None:
        if self._packets.order is None:
            self._count()
            return
        self._place = {k: i for i, k in enumerate(self._packets.order.tolist()) if k >= 0}
        self._length = len(self._packets.order)
        self._ceiling = np.maximum.accumulate([self._place.get(k, -1) for k in range(len(self._packets))])

    # Through the order of the packets.

    def _find(self, wanted: Iterable[int]) -> Iterator[tuple[int, VideoFrame]]:
        assert self._packets.order is not None
        missing = {self._packet_of(i): i for i in wanted}
        last = max(missing.values(), default=-1)
        yield from self._take([], missing, last)
        self._ahead = {k: f for k, f in self._ahead.items() if k in missing or self._place[k] > last}
        for target in sorted(missing):
            if target not in missing or target in self._inside or target in self._ahead:
                continue
            entry = self._entry_before(target)
            if target < self._next or entry > self._next or entry < self._began:
                if (self._inside | self._ahead.keys()) & missing.keys():
                    yield from self._drain(missing, last)
                self._begin(entry)
            end = min(target + 1, len(self._packets) - 1)
            while self._next <= end:
                # Frames after the last one wanted may be requested next.
                needed = self._next in missing or self._place.get(self._next, -1) > last
                yield from self._take(self._feed(needed), missing, last)
        while missing:  # held back by the decoder: later packets push it out
            if self._next < len(self._packets):
                yield from self._take(self._feed(True), missing, last)
            else:
                yield from self._drain(missing, last)

    def _packet_of(self, number: int) -> int:
        """Return the packet of a frame; raise ``VideoError`` if it is lost, or frames that it may refer to are."""
        assert self._packets.order is not None
        packet = int(self._packets.order[number])
        if packet >= 0:
            entry = self._entry_before(packet)
            if not any(gap.first <= packet and entry < gap.end for gap in self._packets.gaps):
                return packet
        raise VideoError(self.path, f"is damaged at frame {number}")

    def _drain(self, missing: dict[int, int], last: int) -> Iterator[tuple[int, VideoFrame]]:
        """Get all frames out of the decoder; it takes no more packets until decoding begins again."""
        self._next = len(self._packets) + 1
        frames = self._decode(None)
        self._last = len(self)  # no frame is left that could be damaged
        yield from self._take(frames, missing, last)
        if missing.keys() & self._inside:
            if self._entry is not None:
                self._no_entry(self._entry)
            raise _NotProven

    def _take(self, frames: list[VideoFrame], missing: dict[int, int], last: int) -> Iterator[tuple[int, VideoFrame]]:
        """Yield the missing frames, and keep those that may be requested next.

        Damage of a frame is known when the decoder returns it, and B-frames that refer to it are returned before. So
        a frame is verified when all frames of packets up to its own have been returned. Damage that begins at the end
        of a packet may be noticed only in the next one.
        """
        for frame in frames:
            number = frame.pts
            assert number is not None
            if number in missing or self._place.get(number, -1) > last:
                self._ahead[number] = frame
        for number in [k for k in self._ahead if k in missing and self._is_verified(k)]:
            yield missing.pop(number), self._ahead[number]
            if self._place[number] <= last:
                self._ahead.pop(number, None)

    def _is_verified(self, number: int) -> bool:
        fed = self._next > min(number + 1, len(self._packets) - 1)
        return fed and bool(self._ceiling[number] <= self._last)

    def _entry_before(self, number: int) -> int:
        """Return the last entry point from which the frame of this packet can be decoded."""
        place = self._place[number]
        # Frames after an entry point that are shown before it may refer to frames before it.
        shown_before = (e for e in self._packets.entries if e <= number and self._place.get(e, place + 1) <= place)
        return max(shown_before, default=0)

    def _begin(self, entry: int) -> None:
        self._context.flush_buffers()
        self._next = self._began = entry
        self._entry = entry or None
        self._last = -1
        self._inside.clear()
        self._ahead = {}

    def _feed(self, needed: bool) -> list[VideoFrame]:
        """Give the next packet to the decoder, which may skip its frame if it is not needed."""
        number = self._next
        if needed or not self._skips or number == self._entry:
            self._context.skip_frame = "DEFAULT"
            # Frames shown before the entry point may refer to frames before it: decoders drop them.
            if self._place.get(number, -1) >= self._place.get(self._began, 0):
                self._inside.add(number)
        else:
            self._context.skip_frame = "NONREF"
        self._next += 1
        return self._decode(self._packets[number])

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        try:
            frames = self._context.decode(packet)
        except FFmpegError as error:
            if self._is_open(self._began):
                # Frames shown before the entry point may refer to frames before it. That is not damage, but later
                # frames may refer to them: then decoding must begin at an entry point without such frames.
                if packet is not None and self._place.get(self._next - 1, -1) < self._place[self._began]:
                    return []
                self._packets.entries = [e for e in self._packets.entries if not self._is_open(e)]
                raise _NoEntry from error
            raise _NotProven from error
        for frame in frames:
            if self._entry is not None:
                self._check_entry(frame, self._entry)
            if frame.pts is None or frame.is_corrupt:
                raise _NotProven
            self._inside.discard(frame.pts)
            self._check_order(self._place.get(frame.pts, -1))
        return frames

    def _check_order(self, place: int) -> None:
        """Check that frames are returned in the order of the packets, without gaps."""
        if place < 0:  # not shown
            return
        if place <= self._last or any(self._place[k] < place for k in self._inside):
            raise _NotProven
        self._last = place

    def _check_entry(self, frame: VideoFrame, entry: int) -> None:
        """Check that an entry point returns an intact I-picture before any frame that is shown later."""
        if frame.pts == entry and self._is_key(frame) and not frame.is_corrupt:
            self._entry = None
        elif frame.pts is None or self._place.get(frame.pts, -1) >= self._place[entry]:
            self._no_entry(entry)

    def _is_key(self, frame: VideoFrame) -> bool:
        """Return whether this is a key frame; that of a strict decoder does not say, but its packet does."""
        return self._strict or (frame.key_frame and frame.pict_type == PictureType.I)

    def _is_open(self, entry: int) -> bool:
        """Return whether a frame after an entry point is shown before it."""
        place = self._place.get(entry, -1)
        following = range(entry + 1, min(entry + 1 + REORDER_LIMIT, len(self._packets)))
        return entry > 0 and any(0 <= self._place.get(k, -1) < place for k in following)

    def _no_entry(self, number: int) -> None:
        self._packets.entries.remove(number)
        raise _NoEntry

    # By decoding from the beginning.

    def _count(self) -> None:
        """Decode everything once, to count the frames and to find out which are intact.

        If some packets give no intact frame but their order holds, frames keep their numbers, and some cannot be
        read; otherwise the number of a frame is its position among the decoded frames.
        """
        self._packets.order = None
        errors: set[int] = set()
        packets: list[int] = []
        recovered = [0] if self._packets.starts_at_keyframe else []
        for number, frame in self._all(errors):
            if frame.is_corrupt:
                errors.add(number)
            elif number in self._packets.keys and self._is_key(frame):
                recovered.append(number)
            packets.append(number)
        one_each = not self._place and self._packets.one_each and len({*packets}) == len(packets)
        expected = {*range(len(self._packets))} if one_each else self._place.keys()
        errors |= expected - {*packets}  # decoders skip some damaged frames in silence
        # Damage often begins at the end of a packet, where its decoder no longer notices it.
        whole_key = {k for k in errors if k - 1 in self._packets.keys and self._leads(k)}
        errors |= {k - 1 for k in errors - whole_key if k < len(self._packets) - 1}
        if one_each and errors:
            self._number_by_packets(packets, errors)
        whole = self._intact(packets, errors, sorted({*recovered}))
        places = [self._place.get(k, -1) for k in packets]
        intact = np.array([p for p, is_whole in zip(places, whole, strict=True) if is_whole and p >= 0], np.int64)
        if self._place and _displaced(intact) <= CONTRADICTED * len(intact):
            proven = _in_order(intact)
            self._whole = [False] * self._length
            for place in intact[proven].tolist():
                self._whole[place] = True
        else:
            self._place = {}
            # In a truncated file, frames that the decoder holds back may follow missing ones.
            held_back = self._context.reorder_depth if self._packets.cut else 0
            self._length = max(len(packets) - held_back, 1)
            known = self._numbered(packets, errors)
            self._whole = [is_whole and k < known for k, is_whole in enumerate(whole[: self._length])]
        while self._packets.cut and len(self._whole) > 1 and not self._whole[-1]:
            self._whole.pop()
        self._length = len(self._whole)
        if not any(self._whole):
            raise VideoError(self.path, "has no frame that can be decoded")
        self._running, self._shown = self._all(), 0

    def _number_by_packets(self, packets: list[int], errors: set[int]) -> None:
        """Number frames also after lost ones, where as many frames as packets come before an entry point.

        Which frames are shown after a lost one is not known: those that may be are added to ``errors``.
        """
        lost = sorted(errors)
        before, after = np.maximum.accumulate([-1, *packets]), np.minimum.accumulate(packets[::-1])[::-1]
        closed = [i for i, k in enumerate(packets) if k in self._packets.keys and before[i] < k == after[i]]
        for i, end in pairwise([*closed, len(packets)]):
            start, shown = packets[i], packets[i:end]
            self._place.update((k, start + n) for n, k in enumerate(shown))
            stop = packets[end] if end < len(packets) else len(self._packets)
            first = next(iter(lost[bisect_left(lost, start) :]), stop)
            if first < stop:
                # The decoder has returned all frames of earlier packets but those that it reorders.
                errors.update(shown[max(first - start - self._context.reorder_depth, 0) :])
        self._length = len(self._packets)

    def _leads(self, number: int) -> bool:
        """Return whether a frame follows an entry point but is shown before it.

        It may refer to frames before the entry point, and frames shown after that never refer to it.
        """
        return self._place.get(number, number) < self._place.get(self._key_before(number), -1)

    def _key_before(self, number: int) -> int:
        """Return the last packet before this one that is a key frame; -1 if there is none."""
        at = bisect_left(self._keys, number)
        return self._keys[at - 1] if at else -1

    def _intact(self, packets: list[int], errors: set[int], recovered: list[int]) -> list[bool]:
        """Return whether each frame, given its packet, depends on no error and no gap, in the order of showing."""
        shown: set[int] = set()
        whole = []
        every = sorted(errors)
        spreading = [k for k in every if not self._leads(k)]
        for number in packets:
            shown.add(number)
            before = bisect_right(recovered, number)
            # Frames shown before an entry point may refer to frames before it.
            while before and recovered[before - 1] and recovered[before - 1] not in shown:
                before -= 1
            entry = recovered[before - 1] if before else None
            whole.append(
                entry is not None
                and number not in errors
                and not _any_within(spreading, entry, number)
                and not (self._leads(number) and _any_within(every, self._key_before(number), number))
                and not any(gap.first <= number and entry < gap.end for gap in self._packets.gaps)
            )
        return whole

    def _numbered(self, packets: list[int], errors: set[int]) -> int:
        """Return how many frames come before the first loss, after which numbers are unknown."""
        start = 0 if self._packets.starts_at_keyframe else min(packets, default=0)
        losses = [k for k in errors if k >= start] + [gap.first for gap in self._packets.gaps]
        if not losses:
            return len(packets)
        after = next((i for i, k in enumerate(packets) if k >= min(losses)), len(packets))
        return after - self._context.reorder_depth

    def _all(self, errors: set[int] | None = None) -> Iterator[tuple[int, VideoFrame]]:
        """Yield every frame from the beginning with the number of its packet; add packets that raise to ``errors``."""
        self._packets.reopen()  # a used decoder may treat a damaged beginning differently
        self._context = self._decoder()
        for number in range(len(self._packets) + 1):
            try:
                frames = self._context.decode(self._packets[number] if number < len(self._packets) else None)
            except FFmpegError:
                if errors is not None:  # with threads, of a packet before
                    errors.update(range(max(number - self._context.thread_count + 1, 0), number + 1))
                continue
            for frame in frames:
                yield number if frame.pts is None else frame.pts, frame

    def _run(self, wanted: Iterable[int]) -> Iterator[tuple[int, VideoFrame]]:
        for number in sorted(wanted):
            if not self._whole[number]:
                raise VideoError(self.path, f"is damaged at frame {number}")
            if number < self._shown:
                self._running, self._shown = self._all(), 0
            for packet, frame in self._running:
                place = self._place.get(packet, -1) if self._place else self._shown
                self._shown = place + 1 if place >= 0 else self._shown
                if place == number:
                    yield number, frame
                    break


def _any_within(numbers: list[int], first: int, last: int) -> bool:
    """Return whether an ascending list has a number from ``first`` to ``last``."""
    return bisect_left(numbers, first) < bisect_right(numbers, last)


def _displaced(numbers: Numbers) -> int:
    """Return how many numbers must be left out for the others to ascend.

    >>> _displaced(np.array([0, 4, 1, 2, 3]))
    1
    """
    ends: list[int] = []  # the least last number of each length that ascends
    for number in numbers.tolist():
        at = bisect_left(ends, number)
        ends[at : at + 1] = [number]
    return len(numbers) - len(ends)


def _in_order(numbers: Numbers) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which numbers are above all before them and below all after them.

    >>> _in_order(np.array([0, 2, 1, 3])).tolist()
    [True, False, False, True]
    """
    if not len(numbers):
        return np.zeros(0, np.bool_)
    before = np.concatenate([[-1], np.maximum.accumulate(numbers)[:-1]])
    after = np.concatenate([np.minimum.accumulate(numbers[::-1])[::-1][1:], [numbers.max() + 1]])
    return (before < numbers) & (numbers < after)
