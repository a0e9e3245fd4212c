"""Damaged parts of a container.

FFmpeg continues after damage wherever it finds something that looks right, and does not report what it skipped. So the
chain of elements is followed here as well, without their contents.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Callable, Container, Iterator
from itertools import islice
from struct import unpack_from
from typing import Any, NamedTuple

import numpy as np

__all__ = ["PLACEHOLDER", "Part", "avi_frames", "avi_slots", "damaged_parts"]

Data = mmap.mmap
MOST_PARTS = 1000
"""After this number of breaks, the rest of a file counts as damaged."""
Element = Callable[[Data, int], "int | None"]
"""Returns the end of the element at a position; None if there is none."""


class Part(NamedTuple):
    """Bytes in which elements of the container are damaged or missing: ``start`` to ``end`` (not included)."""

    start: int
    end: int
    joint: bool = False
    """Whether two files may be joined here, instead of anything missing."""


def damaged_parts(path: str, container: str, stream: int, frames: Container[int]) -> list[Part] | None:
    """Return the parts of a file whose frames FFmpeg may have lost; None if the container is not known here.

    Args:
        path: file that FFmpeg can open.
        container: FFmpeg's name of its format.
        stream: identifier of the video stream (for transport streams: the PID).
        frames: positions of the packets that FFmpeg found.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        match container:
            case "avi":
                return _avi(data, stream, frames)
            case "flv":
                return _flv(data, frames)
            case "matroska,webm":
                return _matroska(data, frames)
            case "mpegts":
                return _transport(data, stream, frames)
            case _ if "mp4" in container:
                return _fragments(data)
    return None


# Chains of elements, one directly after the other.


def _chain(data: Data, start: int, end: int, element: Element, begin: re.Pattern[bytes]) -> list[Part]:
    """Follow elements; at a break, continue where two follow each other again.

    The last element before the break belongs to the damaged part, since its size may be wrong.
    """
    parts: list[Part] = []
    at = last = start
    while at < end:
        following = element(data, at)
        if following is not None and following <= end:
            at, last = following, at
            continue
        found = _resume(data, at + 1, end, element, begin) if len(parts) < MOST_PARTS else end
        # An incomplete element at the end is where a file was cut.
        parts.append(Part(at if following is not None and found == end else last, found))
        at = last = found
    return parts


def _resume(data: Data, at: int, end: int, element: Element, begin: re.Pattern[bytes]) -> int:
    for match in begin.finditer(data, at, end):
        following = element(data, match.start())
        if following is not None and (following == end or (following < end and element(data, following) is not None)):
            return match.start()
    return end


# AVI: chunks of a name, a size and an even number of bytes.

AVI_CHUNK = re.compile(rb"\d\d(?:d[bcd]|wb|pc|tx|sb|ix)|ix\d\d|JUNK|LIST", re.DOTALL)


PLACEHOLDER = 16
"""Chunks below this size have no frame: FFmpeg skips them, or the second frame is in the chunk before."""


def _avi(data: Data, stream: int, frames: Container[int]) -> list[Part]:
    parts: list[Part] = []
    name = re.compile(b"%02dd[bc]" % stream)
    for start, end in islice(_movies(data), MOST_PARTS):
        parts += (broken := _chain(data, start, end, _avi_chunk, AVI_CHUNK))
        resume, at = {part.start: part.end for part in broken}, start
        while at < end:
            after = resume.get(at) or _avi_chunk(data, at)
            if after is None:  # the break is counted from the chunk before
                break
            if name.match(data, at) and after - at >= 8 + PLACEHOLDER and at not in resume and at + 8 not in frames:
                parts.append(Part(at, after))  # FFmpeg skipped it
            at = after
    return sorted(parts)


def _movies(data: Data) -> Iterator[tuple[int, int]]:
    """Yield the beginning and end of each list of frames."""
    at = 0
    while (at := data.find(b"movi", at)) >= 0:
        start = at = at + 4
        if data[at - 12 : at - 8] == b"LIST":
            size = unpack_from("<I", data, at - 8)[0] - 4
            # Files that were not finished have no size.
            at = at + size if 0 < size <= len(data) - at else len(data)
            yield start, at


def _avi_chunk(data: Data, at: int) -> int | None:
    if at + 8 > len(data) or not AVI_CHUNK.match(data, at):
        return None
    if data[at : at + 4] == b"LIST":
        return at + 12
    size: int = unpack_from("<I", data, at + 4)[0]
    return at + 8 + size + (size & 1)


def avi_slots(path: str) -> dict[int, int]:
    """Return the number of each frame by its position, according to the index of an AVI file; empty without one."""
    return {place: k for k, (place, _) in enumerate(_avi_index(path))}


def avi_frames(path: str) -> list[tuple[int, int]]:
    """Return position and size of the data of each frame that is not empty, according to the index of an AVI file."""
    return [(place + 8, size) for place, size in _avi_index(path) if size]


def _avi_index(path: str) -> list[tuple[int, int]]:
    """Return position and size of the chunk of each frame; empty without an index."""
    with open(path, "rb") as file:
        data = file.read()
    movie, at = data.find(b"movi"), data.rfind(b"idx1")
    if movie < 0 or at < movie:
        return []
    size = min(unpack_from("<I", data, at + 4)[0], len(data) - at - 8)
    entries = [unpack_from("<4sIII", data, at + 8 + 16 * k) for k in range(size // 16)]
    video = next((name for name, *_ in entries if name[2:] in (b"dc", b"db")), b"")
    found = [(place, size) for name, _, place, size in entries if name == video]
    base = movie if found and found[0][0] < movie else 0
    return [(base + place, size) for place, size in found]


# FLV: tags with their size before and after.

EXTENDED, COMMAND, NO_FRAME = 128, 5, frozenset({0, 2, 4, 5})
"""The first byte of video: a flag of extended headers, a frame type, and the packet types that have no frame."""
FLV_TAG = re.compile(rb"[\x08\x09\x12]", re.DOTALL)


def _flv(data: Data, frames: Container[int]) -> list[Part]:
    at: int | None = int.from_bytes(data[5:9], "big") + 4
    assert at is not None
    parts = _chain(data, at, len(data), _flv_tag, FLV_TAG)
    while at is not None and at < len(data):
        end = _flv_tag(data, at)
        lost = end is not None and end <= len(data) and data[at] == 9 and at not in frames
        if lost and end is not None and not _is_setup(data, at, end):
            parts.append(Part(at, end))  # FFmpeg skipped it
        at = end if end is not None else next((p.end for p in parts if p.start <= at < p.end), None)
    return sorted(parts)


def _is_setup(data: Data, at: int, end: int) -> bool:
    """Return whether a tag of video has no frame: parameter sets, the end of the sequence, or a command."""
    first, kind = data[at + 11], data[at + 12]
    if first & EXTENDED:
        return first & 15 in NO_FRAME
    return first >> 4 == COMMAND or (kind == 0 and data[at + 16] == 1) or kind == 2 or end - at <= 16


def _flv_tag(data: Data, at: int) -> int | None:
    if at + 11 > len(data) or data[at] not in (8, 9, 18) or data[at + 8 : at + 11] != b"\0\0\0":
        return None
    size = 11 + int.from_bytes(data[at + 1 : at + 4], "big")
    end = at + size + 4
    return end if end > len(data) or data[end - 4 : end] == size.to_bytes(4, "big") else None


# Fragmented MP4: boxes.

MOOF = re.compile(rb"....moof", re.DOTALL)


def _fragments(data: Data) -> list[Part]:
    at: int | None = 0
    while at is not None and at < len(data):
        if data[at + 4 : at + 8] == b"moof":
            return _chain(data, at, len(data), _box, MOOF)
        at = _box(data, at)
    return []  # the index has the position of every frame


def _box(data: Data, at: int) -> int | None:
    if at + 8 > len(data):
        return None
    size, name = unpack_from(">I4s", data, at)
    if size == 1 and at + 16 <= len(data):
        size = unpack_from(">Q", data, at + 8)[0]
    if size < 8 or not name.isascii() or not name.decode().isprintable():
        return len(data) if size == 0 else None
    return at + int(size)


# Matroska: elements of an identifier, a size, and data or further elements. (RFC 8794, RFC 9559.)

CLUSTER, TRACKS, TRACK_ENTRY, TRACK_NUMBER = 0x1F43B675, 0x1654AE6B, 0xAE, 0xD7
FOLLOWS = frozenset({CLUSTER, 0x1C53BB6B, 0x1254C367})
SIMPLE_BLOCK, BLOCK_GROUP, BLOCK = 0xA3, 0xA0, 0xA1
TIME = 0xE7
IN_CLUSTER = {TIME: 8, 0xA7: 8, 0xAB: 8, 0xBF: 4, 0xEC: 1 << 56, SIMPLE_BLOCK: 1 << 56, BLOCK_GROUP: 1 << 56}
"""Elements of a cluster, with their largest size."""
# fmt: off
IN_SEGMENT = frozenset({
    0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367, 0xEC, 0xBF,
})
# fmt: on
LACED = 6


def _matroska(data: Data, frames: Container[int]) -> list[Part]:
    parts: list[Part] = []
    mark = CLUSTER.to_bytes(4, "big")
    at = data.find(mark)
    for _ in range(MOST_PARTS):  # a table of contents names it, too
        if at < 0 or _child(*_ebml(data, _ebml(data, at)[1])[::2]):
            break
        at = data.find(mark, at + 1)
    cluster = last = at
    if at >= 0 and _time(data, at) and not _leads_to(data, at):  # an earlier cluster may be damaged
        parts.append(Part(0, at))
    limit: int | None = None  # end of the cluster, if known
    inside, track = False, 0
    early: list[tuple[int, Part]] = []  # blocks before the first frame, and their tracks
    tracks = _tracks(data, at)
    while 0 <= at < len(data):
        name, start, size = _ebml(data, at)
        end = start + (size or 0)
        if name == CLUSTER and (not inside or limit in (None, at)):
            limit, inside, cluster, last, at = None if size is None else end, True, at, at, start
        elif inside and _child(name, size) and end <= min(limit or len(data), len(data)):
            number, place = _block(data, name, start, end)
            if place < 0 or (number and tracks and number not in tracks):
                parts.append(Part(at, end))
            elif number:
                if not track and place in frames:
                    track = number
                    parts += [part for other, part in early if other == track]
                if place not in frames and track in (0, number):  # FFmpeg skipped it
                    if track:
                        parts.append(Part(at, end))
                    elif len(early) < MOST_PARTS:
                        early.append((number, Part(at, end)))
            last, at = at, end
        elif size is not None and name in IN_SEGMENT and end <= len(data) and (not inside or limit in (None, at)):
            inside, last, at = False, at, end
        elif inside and size is not None and end < min(limit or 0, len(data)) and _child(*_ebml(data, end)[::2]):
            parts.append(Part(at, end))  # only its identifier is wrong
            last, at = at, end
        else:
            found = data.find(mark, at if name == CLUSTER else at + 1)
            found = len(data) if found < 0 or len(parts) >= MOST_PARTS else found
            if inside and name in FOLLOWS:  # the cluster is too short, whatever is missing in it
                last = cluster
            cut = found == len(data) and _child(name, size) and end > len(data)
            parts.append(Part(at if cut else last, found))
            last, at, inside = found, found, False
    if inside and limit is not None and limit > len(data):
        parts.append(Part(len(data), len(data)))
    return sorted(parts)


def _time(data: Data, cluster: int) -> int:
    """Return the time of a cluster; 0 if it has none."""
    at = _ebml(data, cluster)[1]
    for _ in range(len(IN_CLUSTER)):
        name, start, size = _ebml(data, at)
        if name == TIME:
            return int.from_bytes(data[start : start + (size or 0)], "big")
        at = start + (size or 0)
    return 0


def _leads_to(data: Data, cluster: int) -> bool:
    """Return whether the elements at the beginning of the file end where the first cluster begins."""
    _, start, size = _ebml(data, 0)
    name, at, _ = _ebml(data, start + (size or 0))
    while name and at < cluster:
        name, start, size = _ebml(data, at)
        at = start + (size or 0) if name in IN_SEGMENT else len(data)
    return at == cluster


def _child(name: int, size: int | None) -> bool:
    """Return whether there may be such an element in a cluster."""
    return size is not None and size <= IN_CLUSTER.get(name, -1)


def _tracks(data: Data, end: int) -> set[int]:
    """Return the numbers of the tracks; none if they cannot be found."""
    found: set[int] = set()
    at = data.rfind(TRACKS.to_bytes(4, "big"), 0, max(end, 0))
    if at >= 0:
        _, at, size = _ebml(data, at)
        stop = min(at + (size or 0), end)
        while at < stop:
            name, start, size = _ebml(data, at)
            if name == TRACK_NUMBER:
                found.add(int.from_bytes(data[start : start + (size or 0)], "big"))
            # An entry begins with its number; its other elements are at the same level here.
            at = start if name == TRACK_ENTRY else start + (size or 0)
            if name == 0:
                return set()
    return found


def _ebml(data: Data, at: int) -> tuple[int, int, int | None]:
    """Return an element's identifier (0: none), where its data begin, and their size (None: unknown)."""
    if at >= len(data):
        return 0, at, 0
    first = data[at]
    length = 9 - first.bit_length()
    sized = at + length
    if length > 4 or sized >= len(data):
        return 0, at, 0
    width = 9 - data[sized].bit_length()
    if width > 8:
        return 0, at, 0
    size = int.from_bytes(data[sized : sized + width], "big") & ((1 << 7 * width) - 1)
    name = first if length == 1 else int.from_bytes(data[at:sized], "big")
    return name, sized + width, None if size == (1 << 7 * width) - 1 else size


def _block(data: Data, name: int, start: int, end: int) -> tuple[int, int]:
    """Return the track of a block (0: it is not a block) and the position of its data (-1: it is damaged)."""
    if name == BLOCK_GROUP:
        place = -1
        while start < end:
            name, inner, size = _ebml(data, start)
            if name == 0 or size is None or inner + size > end:
                return 0, -1
            place = inner if name == BLOCK else place
            start = inner + size
        if place < 0:
            return 0, -1
    elif name == SIMPLE_BLOCK:
        place = start
    else:
        return 0, start
    width = 9 - data[place].bit_length()
    track = int.from_bytes(data[place : place + width], "big") & ((1 << 7 * width) - 1)
    return track, -1 if end < place + width + 3 else place


# MPEG transport streams: packets of equal size, counted for each stream. (ISO/IEC 13818-1, 2.4.3.)

SYNC, WINDOW = 0x47, 4096
MERGED = 0.1
"""Largest share of beginnings of frames that FFmpeg took for the middle of a frame, because of damage. If there are
more, the file divides frames in another way."""


def _transport(data: Data, pid: int, frames: Container[int]) -> list[Part] | None:
    return _transport_parts(np.frombuffer(data, np.uint8), pid, frames)  # no view may be left when the file is closed


def _transport_parts(view: np.ndarray[Any, Any], pid: int, frames: Container[int]) -> list[Part] | None:
    grid = _grid(view)
    if grid is None:
        return None
    places, torn = grid
    flags, low, control, length = (view[places + k] for k in range(1, 5))
    torn_before = np.cumsum(torn)
    mine = np.flatnonzero((flags & 0x1F).astype(np.int64) << 8 | low == pid)
    places, torn_before = places[mine], torn_before[mine]
    flags, control, length = flags[mine], control[mine], length[mine]
    begins, has_field, has_payload = flags & 0x40 > 0, control & 0x20 > 0, control & 0x10 > 0
    field = np.where(has_field, length.astype(np.int64) + 1, 0)
    wrong = (flags & 0x80 > 0) | (control & 0xC0 > 0) | ~(has_field | has_payload)
    wrong |= field > np.where(has_payload, 183, 184)
    wrong |= begins & ~wrong & ~_pes(view, places + 4 + np.minimum(field, 160))
    count = control & 15
    announced = has_field & (length > 0) & (view[places + 5] & 0x80 > 0)
    continues = count[1:] == (count[:-1] + has_payload[1:]) % 16
    repeats = (count[1:] == count[:-1]) & (control[1:] == control[:-1]) & ~begins[1:] & (np.diff(places) < 1000)
    repeats[repeats] = [_same(view, a, b) for a, b in zip(places[:-1][repeats], places[1:][repeats], strict=True)]
    whole = np.diff(torn_before) == 0
    breaks = np.flatnonzero(~((continues | repeats | announced[1:]) & whole))
    joints = begins[1:] & (count[1:] == 0) & whole
    parts = [Part(0, int(places[0]))] if len(places) and torn_before[0] else []
    parts += [Part(int(places[k]), int(places[k + 1]) + (not begins[k + 1]), bool(joints[k])) for k in breaks.tolist()]
    parts += [Part(p, p + 1) for p in places[wrong].tolist()]
    starts = places[begins].tolist()
    merged = [p for p in starts if p not in frames]
    if len(merged) <= MERGED * len(starts):
        parts += [Part(p, p + 1) for p in merged]
    return sorted(parts)


def _same(view: np.ndarray[Any, Any], one: int, other: int) -> bool:
    return bool(np.array_equal(view[one + 4 : one + 188], view[other + 4 : other + 188]))


def _pes(view: np.ndarray[Any, Any], at: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return whether there are headers of video packets with valid markers."""
    at = np.minimum(at, len(view) - 19)
    head = view[at[:, None] + np.arange(19)]
    right: np.ndarray[Any, Any] = (head[:, 0] == 0) & (head[:, 1] == 0) & (head[:, 2] == 1)
    right &= (head[:, 6] & 0xC0) == 0x80
    times = head[:, 7] >> 6
    for first, needed, mark in ((9, times >= 2, times), (14, times == 3, 1)):
        markers = (head[:, first] >> 4 == mark) & (head[:, first] & head[:, first + 2] & head[:, first + 4] & 1 == 1)
        right &= ~needed | markers
    return right


def _grid(view: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]] | None:
    """Return the positions of the packets, and whether other bytes are before each; None if there is no grid."""
    size, at = next(((s, a) for s, a in ((188, 0), (192, 4), (204, 0)) if _synced(view, a, s, 3)), (188, -1))
    if at < 0 and (at := _next_sync(view[: 1 << 20], 0, size)) >= min(len(view), 1 << 20):
        return None
    runs, torn, whole = [], [], True
    while at + 188 <= len(view):
        column = view[at : min(at + size * WINDOW, len(view) - 187) : size] == SYNC
        good = len(column) if column.all() else int(np.argmin(column))
        if good:
            runs.append(at + size * np.arange(good))
            torn.append((np.arange(good) == 0) & (not whole))
        at += size * good
        whole = good == len(column)
        if not whole:  # on the same grid if packets follow there, otherwise where three follow each other
            at = at + size if _synced(view, at + size, size, 3) else _next_sync(view, at + 1, size)
    return (np.concatenate(runs), np.concatenate(torn)) if runs else None


def _synced(view: np.ndarray[Any, Any], at: int, size: int, count: int) -> bool:
    column = view[at : at + size * count : size]
    return bool(len(column)) and bool((column == SYNC).all())


def _next_sync(view: np.ndarray[Any, Any], at: int, size: int) -> int:
    while at < len(view):
        window = view[at : at + WINDOW]
        for k in np.flatnonzero(window == SYNC).tolist():
            if _synced(view, at + k, size, 3):
                return int(at + k)
        at += len(window)
    return at
