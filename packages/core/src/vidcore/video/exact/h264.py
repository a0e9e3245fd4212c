"""Order and continuity of H.264 pictures, from their slice headers. (ITU-T H.264, 7.3 and 8.2.1.)"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from vidcore.video.exact.bits import Bits

__all__ = ["Headers", "read_headers"]

SLICE, IDR, SPS = 1, 5, 7
HIGH_PROFILES = frozenset({44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244})

ENOUGH = 8
"""Number of steps among which one is between neighbours."""


class Headers(NamedTuple):
    """What the headers of all packets prove."""

    order: np.ndarray[Any, np.dtype[np.int64]]
    """Numbers of the packets in the order in which their pictures are shown, without damaged ones."""
    gaps: list[int]
    """Packets before which reference pictures are missing, in the order of decoding."""
    holes: list[int]
    """Packets before which pictures are missing, in the order of showing."""
    last: int
    """Packet of the last IDR picture; -1 if there is none."""


class _Sequence(NamedTuple):
    """The fields of a sequence parameter set that slice headers depend on."""

    number_bits: int
    numbers: int
    """Frames are counted up to this number, not included."""
    order_bits: int
    """0 if pictures are shown in the order of decoding."""
    fields: bool
    gaps_allowed: bool


class _Picture(NamedTuple):
    idr: bool
    referred: bool
    number: int
    order: int


def read_headers(packets: Iterable[bytes], extradata: bytes | None) -> Headers | None:
    """Return the order of progressive pictures with one packet each; None if headers do not determine it."""
    width = (extradata[4] & 3) + 1 if extradata and extradata[0] == 1 else 0
    sequence: _Sequence | None = None
    ranks: list[tuple[int, int, int]] = []
    gaps: list[int] = []
    period, high, last = -1, 0, 0
    damaged: set[int] = set()  # periods
    reference: int | None = None
    for unit in _stored(extradata or b"", width):
        sequence = _sequence(unit) or sequence
    for k, data in enumerate(packets):
        picture = None
        for unit in _units(data, width):
            if unit[0] & 31 == SPS:
                sequence = _sequence(unit) or sequence
            elif unit[0] & 31 in (SLICE, IDR) and picture is None and sequence is not None:
                picture = _picture(unit, sequence)
        if sequence is None or sequence.fields:
            return None
        if picture is None:
            damaged.add(period)
            continue
        if picture.idr:
            period, high, last, reference = k, 0, 0, 0
        elif reference is not None and (picture.number - reference) % sequence.numbers > 1:
            gaps += [] if sequence.gaps_allowed else [k]
        if sequence.order_bits:
            half = 1 << (sequence.order_bits - 1)
            order = picture.order + high
            order += 2 * half if order <= last - half else -2 * half if order > last + half else 0
            if picture.referred:
                last, high = order, order - picture.order
        else:
            order = k
        ranks.append((period, order, k))
        if reference is not None and picture.referred:
            reference = picture.number
    ranks.sort()
    # Before the first IDR picture, some may be missing.
    steps = [(b[1] - a[1] if a[0] == b[0] >= 0 else 0, b[2]) for a, b in pairwise(ranks)]
    usual = min((step for step, _ in steps if step > 0), default=0)
    if len(steps) < ENOUGH:  # encoders count fields
        usual = min(usual, 2)
    holes = [k for step, k in steps if step > usual]
    if damaged:  # a picture that is damaged is not missing
        kept = {k for start, _, k in ranks if start not in damaged}
        gaps, holes = [k for k in gaps if k in kept], [k for k in holes if k in kept]
    return Headers(np.array([k for _, _, k in ranks], np.int64), gaps, holes, period)


def _stored(extradata: bytes, width: int) -> Iterator[bytes]:
    """Yield the parameter sets of the container."""
    if not width:
        yield from _units(extradata, 0)
    elif extradata[5] & 31 == 1:
        yield from _units(extradata[6 : 8 + int.from_bytes(extradata[6:8], "big")], 2)


def _units(data: bytes, width: int) -> Iterator[bytes]:
    """Yield the NAL units of a packet: after start codes, or each after its length in ``width`` bytes."""
    at = 0
    if not width:
        yield from (unit for unit in data.split(b"\0\0\1")[1:] if unit)
        return
    while at + width < len(data):
        size = int.from_bytes(data[at : at + width], "big")
        if size:
            yield data[at + width : at + width + size]
        at += width + size


def _sequence(unit: bytes) -> _Sequence | None:
    """Parse a sequence parameter set; None if slice headers depend on more than this."""
    bits = _bits(unit)
    try:
        profile = bits.take(8)
        bits.take(16)
        bits.golomb()
        if profile in HIGH_PROFILES:
            planes = bits.golomb() == 3 and bits.take(1)
            bits.golomb(), bits.golomb(), bits.take(1)
            if planes or bits.take(1):  # scaling matrices
                return None
        number_bits, kind = bits.golomb() + 4, bits.golomb()
        order_bits = bits.golomb() + 4 if kind == 0 else 0
        if kind == 1:
            return None
        bits.golomb()
        gaps_allowed = bits.take(1) == 1
        bits.golomb(), bits.golomb()
        return _Sequence(number_bits, 1 << number_bits, order_bits, not bits.take(1), gaps_allowed)
    except ValueError:
        return None


def _picture(unit: bytes, sequence: _Sequence) -> _Picture | None:
    """Parse the header of a slice; None if it is damaged."""
    bits = _bits(unit[:40])
    try:
        bits.golomb(), bits.golomb(), bits.golomb()
        number = bits.take(sequence.number_bits)
        idr = unit[0] & 31 == IDR
        if idr:
            bits.golomb()
        return _Picture(idr, unit[0] & 96 > 0, number, bits.take(sequence.order_bits) if sequence.order_bits else 0)
    except ValueError:
        return None


def _bits(unit: bytes) -> Bits:
    """Return the bits of a NAL unit after its type, without the bytes that keep start codes out."""
    return Bits(unit[1:].replace(b"\0\0\3", b"\0\0"))
