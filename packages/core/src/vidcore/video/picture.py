"""What the header of a picture promises, read before anything is decoded."""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["Promise", "promise"]

NO_SIZE = frozenset({0xC4, 0xC8, 0xCC})
"""Markers among those of JPEG frames (0xC0 to 0xCF) that are something else."""


class Promise(NamedTuple):
    """What a header says."""

    pixels: int = 0
    """Width times height; 0 where the format is not known."""
    animated: bool = False
    """Whether there may be more pictures than one."""


def promise(data: bytes) -> Promise:
    """Read the header of a BMP, GIF, JPEG, PNG, TIFF or WebP; ``Promise()`` for anything else, or what is damaged."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return Promise(_product(">II", data, 16), b"acTL" in data[: data.find(b"IDAT")])
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith(b"\xff\xd8"):
            return Promise(_jpeg_pixels(data))
        if data.startswith((b"II*\0", b"MM\0*")):
            return _tiff(data)
        if data.startswith(b"BM"):
            return Promise(_product("<ii", data, 18))
        if data.startswith(b"GIF8"):
            return Promise(_product("<HH", data, 6), animated=True)
    except (struct.error, IndexError):
        pass
    return Promise()


def _product(layout: str, data: bytes, at: int) -> int:
    width, height = struct.unpack_from(layout, data, at)
    return abs(int(width) * int(height))


def _webp(data: bytes) -> Promise:
    """RFC 9649: VP8X has three bytes for each size less one, VP8L 14 bits; the second flag is for animations."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return Promise(width * height, bool(data[20] & 2))
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return Promise(((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return Promise((width & 0x3FFF) * (height & 0x3FFF))


def _jpeg_pixels(data: bytes) -> int:
    """ITU-T T.81, B.2.2: the frame header; before it segments with their length."""
    at = 2
    while True:
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xFF:  # filling
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in NO_SIZE:
            return _product(">HH", data, at + 5)
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])


def _tiff(data: bytes) -> Promise:
    """TIFF 6.0: tags 256 and 257 of the first folder, behind which stands where the next one is."""
    order = "<" if data[0] == ord("I") else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    sizes = {256: 0, 257: 0}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in sizes:
            (sizes[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
    return Promise(sizes[256] * sizes[257], following != 0)
