"""Exact and fast reading with PyAV (``pip install vidcore[av]``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import av
import numpy as np
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from vidcore.errors import VideoError
from vidcore.video.checks import existing_file, frame_numbers
from vidcore.video.packets import PacketIndex, index_packets
from vidcore.video.rotation import Orientation

__all__ = ["PyAVReader"]

SKIP_SAFE = frozenset({"h264", "mpeg1video", "mpeg2video", "mpeg4"})
"""Codecs in which a frame that no other refers to leaves nothing behind when it is not decoded."""


class _NotProven(Exception):
    """The packet index and what was decoded disagree."""


class _NoEntry(Exception):
    """Decoding cannot begin at this packet, whatever the container says."""


class PyAVReader:
    """Frames by number, as a decoding of the whole file in order would show them.

    Frame i is found through the packets of the file (see ``vidcore.video.packets``), decoding begins at
    the nearest entry before it, and frames nobody asked for are decoded only where others need them.
    Whatever comes out is checked against the index; where it cannot be proven, the file is decoded
    from its beginning and frames are counted.

    :param path: video file.
    :param threads: threads of the decoder; 0 lets it choose.

    Raises ``VideoError`` where the file is missing, is no video, or nothing in it decodes.
    """

    decoder = "pyav"

    def __init__(self, path: str | Path, threads: int = 1) -> None:
        self.path = str(path)
        existing_file(path)
        try:
            self._container = av.open(self.path, metadata_errors="ignore", container_options={"fflags": "nofillin"})
        except (FFmpegError, OSError) as error:
            raise VideoError(path, f"cannot be opened as a video ({_reason(error)})") from error
        try:
            stream = self._container.streams.best("video")
            if not isinstance(stream, VideoStream) or stream.codec_context is None:
                raise VideoError(path, "has no video stream that can be decoded")
            self._stream = stream
            self._context = stream.codec_context
            self._context.thread_count = threads
            self._context.thread_type = "NONE" if threads == 1 else "AUTO"
            try:
                self._index: PacketIndex = index_packets(self._container, stream)
            except FFmpegError as error:
                raise VideoError(path, f"cannot be read to its end ({_reason(error)})") from error
            if not self._index.packets:
                raise VideoError(path, "has a video stream without any frame")
        except BaseException:
            self._container.close()
            raise
        self.fps: float | None = float(stream.average_rate) if stream.average_rate else None
        self._reformatter = VideoReformatter()
        self._orientation: Orientation | None = None
        self._coded_size = (self._context.height, self._context.width)
        self._skips = self._context.codec.canonical_name in SKIP_SAFE
        self._place: dict[int, int] = {}
        if self._index.order is not None:
            self._place = {k: i for i, k in enumerate(self._index.order.tolist())}
            self._length = len(self._place)
        self._next = 0  # packet to be given to the decoder
        self._began = 0  # packet where decoding began
        self._entry: int | None = 0  # the same, until its frame has come out
        self._inside: set[int] = set()  # packets in the decoder whose frames are still to come
        self._ahead: dict[int, VideoFrame] = {}  # frames that came out after the last one asked for
        if self._index.order is None:
            self._count()

    def __len__(self) -> int:
        return self._length

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames as returned (rotation applied)."""
        if self._orientation is None:
            self.read([0])
        assert self._orientation is not None
        return self._orientation.size(self._coded_size)

    def read(self, indices: Sequence[int] | np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Return the frames asked for: (n, height, width, 3) uint8 RGB."""
        numbers = frame_numbers(self.path, indices, len(self), self._index.advertised)
        wanted, places = np.unique(numbers, return_inverse=True)
        while True:
            try:
                return self._read(wanted.tolist(), places)
            except _NoEntry:
                self._begin(0)
            except _NotProven:
                self._count()
                frame_numbers(self.path, indices, len(self), self._index.advertised)
            except FFmpegError as error:
                raise VideoError(self.path, f"cannot be decoded ({_reason(error)})") from error

    def close(self) -> None:
        """Let go of the file and of all packets."""
        self._container.close()
        self._index.packets.clear()
        self._ahead.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, wanted: list[int], places: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        slots: dict[int, list[int]] = {}
        for slot, place in enumerate(places.tolist()):
            slots.setdefault(wanted[place], []).append(slot)
        out: np.ndarray[Any, Any] | None = None
        frames = self._find(wanted) if self._index.order is not None else self._run(wanted)
        for number, frame in frames:
            if self._orientation is None:
                self._orientation = Orientation.of(frame)
            if out is None:
                out = np.empty((len(places), *self._orientation.size(self._coded_size), 3), np.uint8)
            first, *others = slots[number]
            height, width = self._coded_size
            image = self._reformatter.reformat(frame, width, height, "rgb24", threads=1).to_ndarray()
            self._orientation.turn(image, out[first])
            for other in others:
                out[other] = out[first]
        return np.empty((0, *self.size, 3), np.uint8) if out is None else out

    # Through the index.

    def _find(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        """Yield (number, frame) for every wanted frame, in any order."""
        assert self._index.order is not None
        missing = {int(self._index.order[i]) for i in wanted}
        for packet in missing & self._ahead.keys():
            yield self._place[packet], self._ahead[packet]
        missing -= self._ahead.keys()
        self._ahead = {}
        for target in sorted(missing):
            if target not in missing or target in self._inside:
                continue
            entry = self._entry_before(target)
            if target < self._next or entry > self._next or entry < self._began:
                if self._inside & missing:
                    yield from self._take(self._decode(None), missing)
                self._begin(entry)
            while self._next <= target:
                yield from self._take(self._feed(self._next in missing), missing)
        while missing:  # fed, but held back by the decoder: the packets after it push it out, and may be asked for next
            at_end = self._next == len(self._index.packets)
            frames = self._decode(None) if at_end else self._feed(True)
            self._ahead.update((f.pts, f) for f in frames if f.pts is not None and f.pts not in missing)
            yield from self._take(frames, missing)
            if at_end:
                self._next += 1  # drained: the decoder takes nothing more
                if missing:
                    raise _NotProven

    def _take(self, frames: list[VideoFrame], missing: set[int]) -> Iterator[tuple[int, VideoFrame]]:
        for frame in frames:
            if frame.pts in missing:
                missing.remove(frame.pts)
                yield self._place[frame.pts], frame

    def _entry_before(self, packet: int) -> int:
        """Return the last entry from which this packet's frame can be had whole."""
        place = self._place[packet]
        # A frame that follows an entry in the file but is shown before it may need what came before the entry.
        return max(e for e in self._index.entries if e <= packet and (e == 0 or self._place.get(e, place + 1) <= place))

    def _begin(self, entry: int) -> None:
        self._context.flush_buffers()
        self._next = self._began = self._entry = entry
        self._inside.clear()
        self._ahead = {}

    def _feed(self, needed: bool) -> list[VideoFrame]:
        """Give the next packet to the decoder; what is not needed may be passed over."""
        number = self._next
        if needed or not self._skips or number == self._entry:
            self._context.skip_frame = "DEFAULT"
            self._inside.add(number)
        else:
            self._context.skip_frame = "NONREF"
        self._next += 1
        return self._decode(self._index.packets[number])

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        try:
            frames = self._context.decode(packet)
        except FFmpegError as error:
            raise _NotProven from error
        for frame in frames:
            if frame.pts is None or frame.is_corrupt:
                raise _NotProven
            self._inside.discard(frame.pts)
            if self._entry:
                self._check_entry(frame)
        return frames

    def _check_entry(self, frame: VideoFrame) -> None:
        """Entry packets must show a whole picture of their own before anything that is shown later."""
        entry = self._entry
        assert entry is not None and frame.pts is not None
        if frame.pts == entry and frame.key_frame and frame.pict_type == PictureType.I:
            self._entry = None
        elif frame.pts == entry or self._place.get(frame.pts, -1) > self._place[entry]:
            self._index.entries.remove(entry)
            raise _NoEntry

    # By counting.

    def _count(self) -> None:
        """Decode everything once to learn how many frames there are."""
        self._index.order = None
        self._length = sum(1 for _ in self._all())
        if not self._length:
            raise VideoError(self.path, "has no frame that can be decoded")
        self._running = self._all()
        self._shown = 0

    def _all(self) -> Iterator[tuple[VideoFrame, bool]]:
        """Yield every frame from the beginning, and whether it is whole."""
        self._context.flush_buffers()
        self._context.skip_frame = "DEFAULT"
        whole = True
        for packet in (*self._index.packets, None):
            try:
                frames = self._context.decode(packet)
            except FFmpegError:
                whole = False
                continue
            for frame in frames:
                whole = not frame.is_corrupt and (whole or frame.key_frame)
                yield frame, whole

    def _run(self, wanted: list[int]) -> Iterator[tuple[int, VideoFrame]]:
        if wanted and wanted[0] < self._shown:
            self._running, self._shown = self._all(), 0
        for number in wanted:
            for frame, whole in self._running:
                self._shown += 1
                if self._shown == number + 1:
                    if not whole:
                        raise VideoError(self.path, f"is damaged at frame {number}")
                    yield number, frame
                    break


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
