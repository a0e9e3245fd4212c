"""The packet of each shown frame, from the timestamps and types of packets if they can be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from av.video.codeccontext import VideoCodecContext

from vidcore.video.exact.bitstream import Pictures

__all__ = ["REORDER_LIMIT", "Note", "show_order"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]

# fmt: off
ONE_FRAME_EACH = frozenset({
    "av1", "dnxhd", "ffv1", "flv1", "h263", "h264", "hevc", "huffyuv", "mjpeg", "mpeg1video", "mpeg2video", "mpeg4",
    "msmpeg4v3", "prores", "rawvideo", "vp8", "vp9", "wmv1", "wmv2",
})
# fmt: on
"""Codecs whose packets give one frame each (after the checks below); frames of others are counted by decoding."""

REORDER_LIMIT = 32
"""Largest reordering that any codec can cause; a larger one means that timestamps jump."""

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


def show_order(notes: Sequence[Note], context: VideoCodecContext, cut: bool | None) -> Numbers | None:
    """Return the packet of each frame in display order; None if packets do not determine it.

    Args:
        context: the decoder, before decoding.
        cut: whether packets are missing at the end; None if unknown.
    """
    codec = context.codec.canonical_name
    order = _claimed_order(notes, context, cut) if codec in ONE_FRAME_EACH and notes[0].entry else None
    if order is None or not len(order) or order[0] != 0:  # frames that refer to packets before the first
        return None
    if any(n.corrupt or n.pictures.shown > 1 for n in notes):
        return None
    if codec == "mpeg4" and not np.array_equal(order, _mpeg4_order(notes)[: len(order)]):
        return None
    if codec == "h264" and context.field_order > PROGRESSIVE:  # each field may have a packet of its own
        return None
    shown: Numbers = order[[notes[k].shown for k in order.tolist()]]
    return shown if len(shown) else None


def _claimed_order(notes: Sequence[Note], context: VideoCodecContext, cut: bool | None) -> Numbers | None:
    times = [n.pts for n in notes]
    if not context.codec.reorder:
        return np.arange(len(notes))
    if None not in times:
        stamps = np.array(times, np.int64)
        order = np.argsort(stamps)
        believed = len(set(times)) == len(times) and _plausible(notes, order, context)
        return _before_hole(stamps[order], order, notes[-1].dts, cut) if believed else None
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


def _before_hole(times: Numbers, order: Numbers, last: int | None, cut: bool | None) -> Numbers:
    """Leave out frames at the end of a truncated file that follow missing frames.

    A missing packet would have come after the last one present, which was decoded at ``last``, so all frames
    shown until then are there. After it, a longer step in an otherwise constant rate is a hole; this is also
    assumed if it is unknown whether the file was truncated (``cut`` is None).
    """
    if last is None or cut is False:
        return order
    complete = int(np.searchsorted(times, last, "right"))
    steps = np.diff(times)
    holes = np.flatnonzero(steps > 1.5 * np.median(steps)) + 1 if len(steps) else steps
    if (holes < complete).any():  # variable rate: steps have no meaning
        return order[:complete] if cut else order
    return order[: holes[0]] if len(holes) else order
