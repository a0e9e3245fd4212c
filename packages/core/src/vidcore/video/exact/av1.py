"""Headers of AV1 frames. (AV1 bitstream and decoding process specification, 5.3 to 5.9.)"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from vidcore.video.exact.bits import Bits
from vidcore.video.exact.slots import ALL, Header

__all__ = ["Av1Headers"]

SEQUENCE, FRAME_HEADER, FRAME = 1, 3, 6
"""Types of units (OBU)."""
KINDS = {*range(1, 9), 15}
"""All types; others are reserved."""
KEY, INTER, INTRA, SWITCH = range(4)
"""Types of frames."""
MARKER = 0x81
"""First byte of the configuration record of a container, which has four bytes before its units."""
CHOSEN = 2
"""Each frame has a bit for this setting."""
ENOUGH = 128
"""Bytes that hold the fields read here."""


class _Unit(NamedTuple):
    kind: int
    temporal: int
    spatial: int
    data: bytes


class _Sequence(NamedTuple):
    """The fields of a sequence header that frame headers depend on."""

    still: bool
    """Whether this is a single picture, with reduced headers."""
    size: tuple[int, int]
    """Largest width and height."""
    timed_bits: int
    """Of the time at which a frame is shown; 0 if frames have none."""
    removed_bits: int
    """Of the time at which a frame leaves the buffer; 0 if frames have none."""
    layers: tuple[int, ...]
    """Temporal and spatial layers of each operating point that has such times; 0 for all."""
    id_bits: int
    screen: int
    """Whether tools for screen content are used: 0, 1 or ``CHOSEN``."""
    whole: int
    """Whether motion vectors are whole pixels: 0, 1 or ``CHOSEN``."""
    order_bits: int


class Av1Headers:
    """Reads the headers of the frames in each packet.

    Args:
        extradata: configuration record of the container, which may have the first sequence header.
    """

    def __init__(self, extradata: bytes | None) -> None:
        self._sequence: _Sequence | None = None
        self._size: tuple[int, int] | None = None  # that of the container, until a packet has the same
        with suppress(IndexError, ValueError):
            self(extradata[4:] if extradata and extradata[0] == MARKER else extradata or b"")
        self._size = self._sequence.size if self._sequence else None

    def __call__(self, data: bytes) -> list[Header]:
        """Return the headers in a packet; raise ``ValueError`` or ``IndexError`` if it is damaged."""
        headers = []
        for unit in _units(data):
            if unit.kind == SEQUENCE:
                self._sequence = _read_sequence(Bits(unit.data[:ENOUGH]))
                if self._size not in (None, self._sequence.size):  # frames are scaled to the size of the container
                    raise ValueError("not the size of the container")
                self._size = None
            elif unit.kind in (FRAME_HEADER, FRAME):
                if self._sequence is None:
                    raise ValueError("no sequence header")
                headers.append(_read_header(Bits(unit.data[:ENOUGH]), self._sequence, unit))
        return headers


def _units(data: bytes) -> Iterator[_Unit]:
    at = 0
    while at < len(data):
        first = data[at]
        kind = first >> 3
        if kind not in KINDS:
            raise ValueError("not a unit")
        temporal = spatial = 0
        if first & 4:
            temporal, spatial = data[at + 1] >> 5, data[at + 1] >> 3 & 3
        at += 2 if first & 4 else 1
        size = len(data) - at
        if first & 2:  # little-endian groups of seven bits
            size = shift = 0
            while True:
                size |= (data[at] & 127) << shift
                at, shift = at + 1, shift + 7
                if data[at - 1] < 128:
                    break
        if at + size > len(data):
            raise ValueError("a unit reaches beyond its packet")
        yield _Unit(kind, temporal, spatial, data[at : at + size])
        at += size


def _read_sequence(bits: Bits) -> _Sequence:
    bits.take(4)
    if bits.take(1):
        return _Sequence(True, (0, 0), 0, 0, (), 0, 0, 0, 0)
    timed_bits = removed_bits = delay_bits = 0
    if bits.take(1):
        bits.take(64)
        equal = bits.take(1)
        if equal:
            bits.golomb()
        if bits.take(1):
            delay_bits = bits.take(5) + 1
            bits.take(32)
            removed_bits = bits.take(5) + 1
            timed_bits = bits.take(5) + 1
            timed_bits = 0 if equal else timed_bits
    delayed, layers = bits.take(1), []
    for _ in range(bits.take(5) + 1):
        point = bits.take(12)
        if bits.take(5) > 7:
            bits.take(1)
        if removed_bits and bits.take(1):
            layers.append(point)
            bits.take(2 * delay_bits + 1)
        if delayed and bits.take(1):
            bits.take(4)
    widths, heights = bits.take(4) + 1, bits.take(4) + 1
    size = bits.take(widths), bits.take(heights)
    id_bits = 0
    if bits.take(1):
        id_bits = bits.take(4) + bits.take(3) + 3
    bits.take(7)
    ordered = bits.take(1)
    if ordered:
        bits.take(2)
    screen = CHOSEN if bits.take(1) else bits.take(1)
    whole = CHOSEN if not screen or bits.take(1) else bits.take(1)
    order_bits = bits.take(3) + 1 if ordered else 0
    return _Sequence(False, size, timed_bits, removed_bits, tuple(layers), id_bits, screen, whole, order_bits)


def _read_header(bits: Bits, sequence: _Sequence, unit: _Unit) -> Header:
    if sequence.still:
        return Header(key=True, showable=False)
    if bits.take(1):
        return Header(existing=bits.take(3))
    kind, shown = bits.take(2), bits.take(1) > 0
    if shown:
        bits.take(sequence.timed_bits)
    showable = kind != KEY if shown else bits.take(1) > 0
    begins = kind == SWITCH or (kind == KEY and shown)
    resilient = begins or bits.take(1) > 0
    bits.take(1)
    screen = bits.take(1) if sequence.screen == CHOSEN else sequence.screen
    if screen and sequence.whole == CHOSEN:
        bits.take(1)
    bits.take(sequence.id_bits)
    if kind != SWITCH:
        bits.take(1)
    order = bits.take(sequence.order_bits) if sequence.order_bits else None
    if kind in (INTER, SWITCH) and not resilient:
        bits.take(3)
    if sequence.removed_bits and bits.take(1):
        for point in sequence.layers:
            if not point or (point >> unit.temporal & 1 and point >> (unit.spatial + 8) & 1):
                bits.take(sequence.removed_bits)
    kept = ALL if begins else bits.take(8)
    return Header(shown, kept=kept, key=kind == KEY, showable=showable, order=order, order_bits=sequence.order_bits)
