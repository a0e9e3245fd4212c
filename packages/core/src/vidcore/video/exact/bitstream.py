"""The pictures of a packet, read from its first bits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from av import Packet
from av.video.stream import VideoStream

__all__ = ["Pictures", "lacks_idr", "pictures"]


SLICE, IDR = 1, 5
"""Types of H.264 NAL units."""


VP8_START = b"\x9d\x01\x2a"
"""The second three bytes of a key frame."""
SHOWN_AGAIN = 8
"""Largest size in bytes of a VP9 frame that only shows an earlier one."""


class Pictures(NamedTuple):
    """What matters for the order of the pictures in a packet."""

    shown: int = 1
    """Number of shown pictures. Others are decoded because shown ones refer to them."""
    kind: int | None = None
    """MPEG-4: 0 I, 1 P, 2 B, 3 S; None if unclear."""
    damaged: bool = False
    """Whether this cannot be a packet of that codec."""
    predicted: bool = False
    """VP8 and VP9: whether decoding cannot begin here."""


def pictures(codec: str, packet: Packet[VideoStream]) -> Pictures:
    """Parse a packet of that codec (canonical name); if that is not possible, it counts as one shown picture."""
    if codec == "mpeg4":
        return _mpeg4_picture(bytes(packet))
    parse = {"vp8": _vp8_picture, "vp9": _vp9_picture, "av1": _av1_picture}.get(codec)
    try:
        return parse(bytes(packet)) if parse else Pictures()
    except IndexError:
        return Pictures(damaged=True)


def lacks_idr(packet: Packet[VideoStream], extradata: bytes | None) -> bool:
    """Return whether a packet of H.264 has slices, but none of an IDR picture, which resets the decoder.

    After other entry points, decoders drop pictures until they have recovered. (ITU-T H.264, 7.3.1 and annex B.)
    """
    data, at = bytes(packet), 0
    kinds = set()
    if not extradata or extradata[0] != 1:  # start codes; otherwise each unit is preceded by its length
        kinds = {unit[0] & 31 for unit in data.split(b"\0\0\1")[1:] if unit}
    else:
        width = (extradata[4] & 3) + 1
        while at + width < len(data):
            kinds.add(data[at + width] & 31)
            at += width + int.from_bytes(data[at : at + width], "big")
        if at != len(data):  # damaged
            return False
    return SLICE in kinds and IDR not in kinds


def _mpeg4_picture(data: bytes) -> Pictures:
    """ISO/IEC 14496-2, 6.2.5: the kind is in the two bits after the start code."""
    start = data.find(b"\0\0\1\xb6")
    if len(data) < max(16, start + 5):  # shorter ones may only repeat the previous picture
        return Pictures()
    return Pictures(kind=1, damaged=True) if start < 0 else Pictures(kind=data[start + 4] >> 6)


def _vp8_picture(data: bytes) -> Pictures:
    """RFC 6386, 9.1: the first bit from the right is 0 in key frames, the fifth is show_frame."""
    predicted = data[0] & 1 > 0
    return Pictures(data[0] >> 4 & 1, predicted=predicted, damaged=not predicted and data[3:6] != VP8_START)


def _vp9_picture(data: bytes) -> Pictures:
    """VP9 bitstream specification, 6.2: marker and profile, then show_existing_frame, frame_type, show_frame."""
    shown, predicted = 0, False
    for k, frame in enumerate(_vp9_frames(data)):
        bits = _bits(frame)
        at = 5 if bits[2:4] == "11" else 4  # profile 3 has one more bit
        if bits[:2] != "10" or (bits[at] == "1" and len(frame) > SHOWN_AGAIN):
            return Pictures(damaged=True)
        shown += "1" in (bits[at], bits[at + 2])
        predicted |= not k and "1" in (bits[at], bits[at + 1])
    return Pictures(shown, predicted=predicted)


def _vp9_frames(data: bytes) -> Iterator[bytes]:
    """Annex B: several frames may be packed together, with their sizes at the end."""
    marker = data[-1]
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = len(data) - 2 - count * width
    if marker >> 5 != 0b110 or index < 0 or data[index] != marker:
        yield data
        return
    at = 0
    for k in range(count):
        size = int.from_bytes(data[index + 1 + k * width : index + 1 + (k + 1) * width], "little")
        if size:
            yield data[at : at + size]
        at += size


def _av1_picture(data: bytes) -> Pictures:
    """AV1 bitstream specification, 5.3 to 5.9: show_existing_frame, frame_type (two bits), show_frame."""
    shown = frames = at = 0
    while at < len(data):
        kind, extended, sized = data[at] >> 3 & 15, data[at] & 4, data[at] & 2
        at += 2 if extended else 1
        size = len(data) - at
        if sized:  # little-endian groups of seven bits
            size = shift = 0
            while True:
                size |= (data[at] & 127) << shift
                at, shift = at + 1, shift + 7
                if data[at - 1] < 128:
                    break
        if at + size > len(data):
            raise IndexError
        bits = _bits(data[at : at + 2])
        if kind == 1 and bits[4] == "1":  # sequence header of a still picture
            return Pictures()
        if kind in (3, 6):  # frame header, frame
            shown += "1" in (bits[0], bits[3])
            frames += 1
        at += size
    return Pictures(shown, damaged=not frames)


def _bits(data: bytes) -> str:
    """Return the first 16 bits."""
    return f"{int.from_bytes(data[:2].ljust(2, bytes(1)), 'big'):016b}"
