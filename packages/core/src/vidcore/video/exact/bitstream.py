"""The pictures of a packet, read from its first bits."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from av import Packet
from av.video.stream import VideoStream

from vidcore.video.exact.av1 import Av1Headers
from vidcore.video.exact.slots import Header, Slots
from vidcore.video.exact.vp9 import read_vp9

__all__ = ["PictureReader", "Pictures", "lacks_idr"]

SLICE, IDR = 1, 5
"""Types of H.264 NAL units."""

VP8_START = b"\x9d\x01\x2a"
"""The second three bytes of a key frame."""


class Pictures(NamedTuple):
    """What matters for the order of the pictures in a packet."""

    shown: int = 1
    """Number of shown pictures. Others are decoded because shown ones refer to them."""
    kind: int | None = None
    """MPEG-4: 0 I, 1 P, 2 B, 3 S; None if unclear."""
    damaged: bool = False
    """Whether this cannot be a packet of that codec."""
    predicted: bool = False
    """VP8, VP9 and AV1: whether decoding cannot begin here."""


class PictureReader:
    """Reads the pictures of each packet, in the order of the file.

    Args:
        codec: its canonical name. If packets cannot be parsed, each counts as one shown picture.
        extradata: configuration that the container has for the decoder.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._slots, self._count = Slots(), 0
        self._parse: Callable[[bytes], Pictures] | None
        match codec:
            case "mpeg4":
                self._parse = _mpeg4_picture
            case "vp8":
                self._parse = _vp8_picture
            case "vp9":
                self._parse = partial(self._kept, read_vp9)
            case "av1":
                self._parse = partial(self._kept, Av1Headers(extradata))
            case _:
                self._parse = None

    @property
    def misleading(self) -> set[int]:
        """Numbers of the packets so far that show another picture than they did before they were damaged."""
        return self._slots.damaged

    @property
    def unseen(self) -> set[int]:
        """Numbers of the packets so far that show nothing, and neither does a later one show their frames."""
        return self._slots.unseen

    def __call__(self, packet: Packet[VideoStream]) -> Pictures:
        """Parse the next packet."""
        try:
            found = self._parse(bytes(packet)) if self._parse else Pictures()
        except (IndexError, ValueError):
            found = Pictures(damaged=True)
        if not found.shown:
            self._slots.unseen.add(self._count)
        self._count += 1
        return found

    def _kept(self, read: Callable[[bytes], list[Header]], data: bytes) -> Pictures:
        headers = read(data)
        self._slots.take(self._count, headers)
        shown = sum(h.shown for h in headers)
        return Pictures(shown, damaged=not headers, predicted=not (headers and headers[0].key))


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
