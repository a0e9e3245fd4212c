"""The packet of each shown frame, from the timestamps and types of packets if they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from av.video.codeccontext import VideoCodecContext

from vidcore.video.exact.bitstream import Pictures

__all__ = ["PROGRESSIVE", "REORDER_LIMIT", "Gap", "Note", "by_pts", "is_steady", "joined", "show_order"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Slots = Mapping[int, int] | None

# fmt: off
ONE_FRAME_EACH = frozenset({
    "av1", "dnxhd", "ffv1", "flv1", "h263", "h264", "hevc", "huffyuv", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4",
    "msmpeg4v3", "prores", "rawvideo", "vp8", "vp9", "wmv1", "wmv2",
})
# fmt: on
"""Codecs whose packets give one frame each (after the checks below); frames of others are counted by decoding."""

REORDER_LIMIT = 32
"""Largest reordering that any codec can cause; a larger one means that timestamps jump."""

ENOUGH = 8
"""Number of equal steps that prove a constant rate."""

PROGRESSIVE = 1
"""``field_order`` of progressive pictures; 0 means unknown."""


class Note(NamedTuple):
    """The properties of a packet that are kept."""

    pts: int | None
    dts: int | None
    place: tuple[int | None, int]
    """Position in the file and size."""
    entry: bool
    corrupt: bool
    discarded: bool
    """Whether the edit list of an MP4 leaves it out."""
    pictures: Pictures

    @property
    def shown(self) -> bool:
        return bool(self.pictures.shown) and not self.discarded


class Gap(NamedTuple):
    """Packets that are damaged, or before which something is missing."""

    first: int
    end: int
    """Not included; ``first`` if only something before it is missing."""


def show_order(
    notes: Sequence[Note], context: VideoCodecContext, cut: bool | None, gaps: Sequence[Gap] = (), slots: Slots = None
) -> Numbers | None:
    """Return the packet of each frame in display order; None if packets do not determine it.

    After gaps, numbers are known only if the file states them, or frames are shown at a constant rate. Then -1 stands
    for lost frames; otherwise the order ends at the first gap.

    Args:
        context: the decoder, before decoding.
        cut: whether packets are missing at the end; None if unknown.
        gaps: where packets are damaged or missing, ascending.
        slots: frame number by position in the file, if the container states it.
    """
    codec = context.codec.canonical_name
    if gaps:
        first = gaps[0].first
        start = show_order(notes[:first], context, True) if first else None
        numbered = _numbered(notes, context, gaps, slots) if first or slots is not None else None
        if numbered is None or (start is not None and not np.array_equal(start, numbered[: len(start)])):
            return start
        return numbered
    order = _claimed_order(notes, context, cut) if codec in ONE_FRAME_EACH and notes[0].entry else None
    if order is None or not len(order) or order[0] != 0:  # frames that refer to packets before the first
        return None
    if any(n.corrupt or n.pictures.shown > 1 for n in notes) or not _groups_in_order(notes, order):
        return None
    if codec == "mpeg4" and not np.array_equal(order, _mpeg4_order(notes)[: len(order)]):
        return None
    if codec == "h264" and context.field_order > PROGRESSIVE:  # each field may have a packet of its own
        return None
    shown: Numbers = order[[notes[k].shown for k in order.tolist()]]
    return shown if len(shown) else None


def by_pts(notes: Sequence[Note]) -> Numbers:
    """Return the packets in the order of their times; those without are first."""
    return np.argsort(np.array([-(1 << 63) if n.pts is None else n.pts for n in notes], np.int64), kind="stable")


def is_steady(notes: Sequence[Note]) -> bool:
    """Return whether frames are shown at a constant rate."""
    times = [n.pts for n in notes]
    if None in times:
        return False
    steps = np.diff(np.sort(np.array(times, np.int64)))
    return not len(steps) or int(steps.max() - steps.min()) <= 1


def joined(notes: Sequence[Note], number: int) -> bool:
    """Return whether a new file begins within two packets of this one, and nothing is missing before it.

    Its first frame is a key frame that follows at once, or is shown before the last one.
    """
    for k in range(number + 1, min(number + 3, len(notes))):
        begin, end = notes[k].pts, max((n.pts for n in notes[max(k - 99, 0) : k] if n.pts is not None), default=None)
        if notes[k].entry and begin is not None and end is not None:
            times = np.array([n.pts for n in notes[max(k - 99, 0) : k] if n.pts is not None], np.int64)
            return begin - end <= 1.5 * float(np.median(np.diff(np.sort(times)))) if len(times) > 1 else begin < end
    return False


def _groups_in_order(notes: Sequence[Note], order: Numbers) -> bool:
    """Return whether no frame before an entry point is shown after it, nor the other way round."""
    places = np.empty(len(notes), np.int64)
    places.fill(-1)
    places[order] = np.arange(len(order))
    latest = np.maximum.accumulate(places)
    entries = [k for k, note in enumerate(notes[: len(order)]) if note.entry and k]
    return all(latest[k - 1] == k - 1 for k in entries)


def _numbered(notes: Sequence[Note], context: VideoCodecContext, gaps: Sequence[Gap], slots: Slots) -> Numbers | None:
    """Return the packet of each frame, -1 if it is lost; None if frames after gaps cannot be numbered."""
    damaged = {k for gap in gaps for k in range(gap.first, gap.end)}
    kept = [k for k in range(len(notes)) if k not in damaged and notes[k].shown]
    if not kept:
        return None
    if slots is not None:
        if any(notes[k].pictures.kind == 2 for k in kept):
            return None
        numbers = [slots.get(notes[k].place[0] or -1, -1) for k in kept]
    else:
        times = [notes[k].pts for k in kept]
        if None in times or notes[0].pts is None or notes[0].pts != min(t for t in times if t is not None):
            return None
        around = 2 * context.reorder_depth + 2
        near = {k for gap in gaps for k in range(gap.first - around, gap.end + around)}
        numbers = _regular([t - notes[0].pts for t in times if t is not None], [k in near for k in kept])
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        return None
    order = np.full(max(numbers) + 1, -1)
    order[numbers] = kept
    return order


def _regular(times: Sequence[int], near: Sequence[bool]) -> list[int]:
    """Return the number of each time at a constant rate; [-1] if the rate is not constant.

    Numbers may be missing only between frames that are ``near`` a gap; the others must prove the rate.

    >>> _regular([0, 33, 67, 100, 133, 167, 200, 233, 267, 367, 333], 8 * [False] + 3 * [True])
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 10]
    >>> _regular([0, 33, 67, 100, 133, 167, 200, 233, 267, 367, 333], 11 * [True])
    [-1]
    >>> _regular([0, 33, 100, 133, 200, 233, 300, 333, 400, 433, 500], 11 * [False])
    [-1]
    """
    ranked = sorted(range(len(times)), key=times.__getitem__)
    steps = np.diff([times[k] for k in ranked])
    proof = sum(not (near[sooner] and near[later]) for sooner, later in pairwise(ranked))
    step = float(np.median(steps)) if proof >= ENOUGH else 0.0
    if step <= 0:
        return [-1]
    numbers = [0] * len(times)
    last = 0
    for sooner, later in pairwise(ranked):
        passed = (times[later] - times[sooner]) / step
        more = round(passed)
        expected = more == 1 or (near[sooner] and near[later])
        if more < 1 or not expected or abs(passed - more) > max(1.5 / step, 0.02 * more):
            return [-1]
        numbers[later] = last = last + more
        if last >= ENOUGH:  # times are rounded: the longer, the more precise
            step = (times[later] - times[ranked[0]]) / last
    return numbers


def _claimed_order(notes: Sequence[Note], context: VideoCodecContext, cut: bool | None) -> Numbers | None:
    times = [n.pts for n in notes]
    if not context.codec.reorder:
        return np.arange(len(notes))
    if None not in times:
        stamps = np.array(times, np.int64)
        order = np.argsort(stamps)
        believed = len(set(times)) == len(times) and _plausible(notes, order, context)
        decoded = np.array([n.dts for n in notes if n.dts is not None], np.int64)
        return _before_hole(stamps[order], order, _last_entry(notes, order), decoded, cut) if believed else None
    if context.codec.canonical_name == "mpeg4":  # AVI has no times
        order = _mpeg4_order(notes)
        return order[:-1] if cut else order  # frames shown before the last one may be missing
    return None


def _plausible(notes: Sequence[Note], order: Numbers, context: VideoCodecContext) -> bool:
    """Return whether timestamps can be display times."""
    if any(later < sooner for sooner, later in pairwise(n.dts for n in notes if n.dts is not None)):
        return False  # concatenated files
    farthest = int(np.abs(order - np.arange(len(order))).max())
    # If the decoder reorders frames but timestamps do not, they are decoding times.
    return farthest <= REORDER_LIMIT and (len(order) == 1 or bool(farthest) == bool(context.has_b_frames))


def _mpeg4_order(notes: Sequence[Note]) -> Numbers:
    """Return the display order: I- and P-frames after the B-frames that follow them; empty if unclear.

    (ISO/IEC 14496-2, 6.1.3.)
    """
    order: list[int] = []
    held: list[int] = []
    for number, note in enumerate(notes):
        if note.pictures.kind is None:
            return np.empty(0, np.int64)
        if note.pictures.kind == 2:
            order.append(number)
        else:
            order += held
            held = [number]
    return np.array(order + held, np.int64)


def _before_hole(times: Numbers, order: Numbers, entry: int, decoded: Numbers, cut: bool | None) -> Numbers:
    """Leave out frames at the end of a truncated file that follow missing frames.

    A missing packet would have come after the last one present, so all frames shown until that was ``decoded`` are
    there. After it, a longer step in an otherwise constant rate is a hole; this is also
    assumed if it is unknown whether the file was truncated (``cut`` is None). Without decoding times, only frames
    before the last entry point (number ``entry``) are certain to be there.
    """
    if cut is False or not (len(decoded) or cut):
        return order
    complete = int(np.searchsorted(times, decoded[-1], "right")) if len(decoded) else entry
    steps, pace = np.diff(times), np.diff(decoded)
    usual = min(np.median(each) for each in (steps, pace) if len(each)) if len(steps) else 0
    holes = np.flatnonzero(steps > 1.5 * usual) + 1
    if (holes < complete).any() or (cut and len(steps) < ENOUGH):  # at a variable rate, steps have no meaning
        return order[:complete] if cut else order
    return order[: holes[0]] if len(holes) else order


def _last_entry(notes: Sequence[Note], order: Numbers) -> int:
    """Return the number of the last frame from which decoding may begin."""
    last = max(k for k, note in enumerate(notes) if note.entry or not k)
    return int(np.flatnonzero(order == last)[0])
