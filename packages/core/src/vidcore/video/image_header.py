"""Size of an image according to its header, read before anything is decoded."""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = ["ImageHeader", "read_header"]

NO_SIZE = frozenset({0xC4, 0xC8, 0xCC})
"""Markers in the range of JPEG frame headers (0xC0 to 0xCF) that are not frame headers."""


class ImageHeader(NamedTuple):
    """The properties of an image that its header states."""

    pixels: int = 0
    """Width times height; 0 if the format is not known."""
    animated: bool = False
    """Whether there may be several images."""


def read_header(data: bytes) -> ImageHeader:
    """Read the header of a BMP, GIF, JPEG, PNG, TIFF or WebP; return ``ImageHeader()`` for other or damaged files."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return ImageHeader(_product(">II", data, 16), b"acTL" in data[: data.find(b"IDAT")])
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp(data)
        if data.startswith(b"\xff\xd8"):
            return ImageHeader(_jpeg_pixels(data))
        if data.startswith((b"II*\0", b"MM\0*")):
            return _tiff(data)
        if data.startswith(b"BM"):
            return ImageHeader(_product("<ii", data, 18))
        if data.startswith(b"GIF8"):
            return ImageHeader(_product("<HH", data, 6), animated=True)
    except (struct.error, IndexError):
        pass
    return ImageHeader()


def _product(layout: str, data: bytes, at: int) -> int:
    width, height = struct.unpack_from(layout, data, at)
    return abs(int(width) * int(height))


def _webp(data: bytes) -> ImageHeader:
    """RFC 9649: VP8X has three bytes for each size minus one, VP8L 14 bits; the second flag means animation."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return ImageHeader(width * height, bool(data[20] & 2))
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ImageHeader(((bits & 0x3FFF) + 1) * ((bits >> 14 & 0x3FFF) + 1))
    width, height = struct.unpack_from("<HH", data, 26)
    return ImageHeader((width & 0x3FFF) * (height & 0x3FFF))


def _jpeg_pixels(data: bytes) -> int:
    """ITU-T T.81, B.2.2: the frame header, after segments with their length."""
    at = 2
    while True:
        marker = data[at + 1]
        if data[at] != 0xFF or marker == 0xFF:  # fill bytes
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in NO_SIZE:
            return _product(">HH", data, at + 5)
        else:
            at += 2 + int(struct.unpack_from(">H", data, at + 2)[0])


def _tiff(data: bytes) -> ImageHeader:
    """TIFF 6.0: tags 256 and 257 of the first directory, which ends with the offset of the next."""
    order = "<" if data[0] == ord("I") else ">"
    (at,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, at)
    sizes = {256: 0, 257: 0}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in sizes:
            (sizes[tag],) = struct.unpack_from(order + ("H" if kind == 3 else "I"), data, entry + 8)
    (following,) = struct.unpack_from(order + "I", data, at + 2 + 12 * count)
    return ImageHeader(sizes[256] * sizes[257], following != 0)
