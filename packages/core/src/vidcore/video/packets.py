"""What a video file holds, found without decoding: which packet shows frame i, and where decoding may begin.

Demuxing costs about a hundredth of decoding, and afterwards nothing has to be guessed: packets are
handed to the decoder from here, numbered, so no container's idea of seeking is involved.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from attrs import define
from av import Codec, Packet
from av.bitstream import BitStreamFilterContext
from av.container import InputContainer
from av.video.stream import VideoStream

__all__ = ["PacketIndex", "index_packets"]

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


@define
class PacketIndex:
    """The packets of one video stream.

    ``order`` is None where packets alone do not prove it: then only decoding from the beginning and
    counting tells which frame is which.
    """

    packets: list[Packet[VideoStream]]
    """In decoding order, ``pts`` overwritten with the packet's number so that frames say where they came from."""
    order: Numbers | None
    """(frames,): number of the packet that shows frame i."""
    entries: list[int]
    """Ascending packet numbers where decoding may begin, 0 first. A container's claim, to be checked."""
    advertised: int
    """Number of frames the container promises; 0 where it promises nothing."""


def index_packets(container: InputContainer, stream: VideoStream) -> PacketIndex:
    """Demux the stream to its end. The container must have been opened with ``fflags=nofillin``.

    Raises ``av.error.FFmpegError`` where the file cannot be read.
    """
    codec = stream.codec_context.codec
    packets = [p for p in container.demux(stream) if p.size]
    in_file = len(stream.index_entries) if "mp4" in container.format.name else stream.frames  # mp4: edits applied
    cut = len(packets) < in_file
    while packets and packets[-1].is_corrupt:  # the file ends inside of this one
        packets.pop()
        cut = True
    if codec.canonical_name == "mpeg4":
        packets = _unpack(packets, stream)
    order = None
    if packets and packets[0].is_keyframe and codec.canonical_name in ONE_FRAME_EACH:
        order = _show_order(packets, codec, cut)
    for number, packet in enumerate(packets):
        packet.pts = number
    entries = [k for k, p in enumerate(packets) if k == 0 or p.is_keyframe]
    return PacketIndex(packets, order, entries, max(stream.frames, in_file))


def _unpack(packets: Iterable[Packet[VideoStream]], stream: VideoStream) -> list[Packet[VideoStream]]:
    """Undo DivX's habit of putting two frames into one packet and a placeholder into the next."""
    unpack = BitStreamFilterContext("mpeg4_unpack_bframes", stream)
    return [q for p in (*packets, None) for q in unpack.filter(p) if q.size]


def _show_order(packets: list[Packet[VideoStream]], codec: Codec, cut: bool) -> Numbers | None:
    """Return the packet of each frame in the order of showing, None where packets do not tell."""
    times = [p.pts for p in packets]
    if not codec.reorder:
        order = np.arange(len(packets))
    elif None not in times:
        stamps = np.array(times, np.int64)
        order = np.argsort(stamps)
        if len(set(times)) < len(times) or np.abs(order - np.arange(len(order))).max() > REORDER_LIMIT:
            return None
        order = _before_hole(stamps[order], order, packets[-1].dts, cut)
    elif codec.canonical_name == "mpeg4":
        found = _mpeg4_order(packets)
        if found is None:
            return None
        order = found[:-1] if cut else found  # B-frames shown before the last one may be among what is lost
    else:
        return None
    hidden = [k for k, p in enumerate(packets) if p.is_discard or (codec.name == "vp8" and not bytes(p)[0] & 0x10)]
    return order[~np.isin(order, hidden)]


def _mpeg4_order(packets: list[Packet[VideoStream]]) -> Numbers | None:
    """AVI has no times: I- and P-frames are shown after the B-frames behind them (ISO/IEC 14496-2, 6.1.3)."""
    order: list[int] = []
    held: int | None = None
    for number, packet in enumerate(packets):
        data = bytes(packet)
        start = data.find(b"\0\0\1\xb6")
        if start < 0 or len(data) < start + 5 or len(data) < 16:  # so short: perhaps a mere "as before"
            return None
        if data[start + 4] >> 6 == 2:  # B
            order.append(number)
        else:
            order += [] if held is None else [held]
            held = number
    return np.array([*order, held], np.int64)


def _before_hole(times: Numbers, order: Numbers, last: int | None, cut: bool) -> Numbers:
    """Leave out frames at the end of a cut file that have lost frames before them.

    A packet that is missing would have come after the last one present, which was decoded at ``last``:
    what is shown until then is complete. After it, a longer step in an otherwise constant rate is a hole.
    """
    if last is None or len(times) < 3:
        return order
    complete = int(np.searchsorted(times, last, "right"))
    steps = np.diff(times)
    holes = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1
    if (holes < complete).any():  # variable rate: steps say nothing
        return order[:complete] if cut else order
    return order[: holes[0]] if len(holes) else order
