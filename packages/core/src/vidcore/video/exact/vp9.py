"""Headers of VP9 frames. (VP9 bitstream specification, 6.2, 7.2 and annex B.)"""

from __future__ import annotations

from collections.abc import Iterator

from vidcore.video.exact.bits import Bits
from vidcore.video.exact.slots import Header

__all__ = ["read_vp9"]

SHOWN_AGAIN = 8
"""Largest size in bytes of a frame that only shows an earlier one."""
SYNC, SRGB = 0x498342, 7
ENOUGH = 16
"""Bytes that hold the fields read here."""


def read_vp9(data: bytes) -> list[Header]:
    """Return the headers of the frames in a packet; raise ``ValueError`` or ``IndexError`` if it is damaged."""
    return [_header(frame) for frame in _frames(data)]


def _frames(data: bytes) -> Iterator[bytes]:
    """Several frames may be packed together, with their sizes at the end."""
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


def _header(frame: bytes) -> Header:
    bits = Bits(frame[:ENOUGH])
    if bits.take(2) != 2:
        raise ValueError("not a frame")
    profile = bits.take(1) + 2 * bits.take(1)
    if profile == 3:
        bits.take(1)
    if bits.take(1):
        if len(frame) > SHOWN_AGAIN:
            raise ValueError("too long for a frame that only shows another")
        return Header(existing=bits.take(3))
    predicted, shown, resilient = bits.take(1), bits.take(1) > 0, bits.take(1)
    intra = predicted and not shown and bits.take(1)
    if predicted and not resilient:
        bits.take(2)
    if (intra or not predicted) and bits.take(24) != SYNC:
        raise ValueError("not a frame without prediction")
    if not predicted:
        return Header(shown, key=True)
    if intra and profile:
        _skip_colors(bits, profile)
    return Header(shown, kept=bits.take(8))


def _skip_colors(bits: Bits, profile: int) -> None:
    subsampled = profile in (1, 3)
    if profile >= 2:
        bits.take(1)
    if bits.take(3) != SRGB:
        bits.take(4 if subsampled else 1)
    elif subsampled:
        bits.take(1)
