"""Slots in which VP9 and AV1 keep decoded frames, to show or refer to them later.

A frame that only shows a slot has few bits, and every change of them makes one that is valid: another frame is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from attrs import define

__all__ = ["ALL", "SLOTS", "Header", "Slots"]

SLOTS = 8
ALL = (1 << SLOTS) - 1


class Header(NamedTuple):
    """A frame, according to its header."""

    shown: bool = True
    existing: int | None = None
    """Slot of the earlier frame that this one only shows."""
    kept: int = ALL
    """Bit k is set if slot k keeps the frame."""
    key: bool = False
    showable: bool = True
    """Whether the frame may be shown from a slot."""
    order: int | None = None
    """Place in the order of showing, without higher bits."""
    order_bits: int = 0


@define(eq=False)
class _Kept:
    header: Header
    packet: int | None
    """Packet that has nothing but this frame."""
    shown: bool
    shown_by: int | None = None
    """Packet that showed it first, from a slot."""


class Slots:
    """Follows the frames in the slots through all packets."""

    damaged: set[int]
    """Packets that show another frame than they did before they were damaged."""
    unseen: set[int]
    """Packets that show nothing; those whose only frame is shown later leave it."""

    def __init__(self) -> None:
        self.damaged, self.unseen = set(), set()
        self._slots: list[_Kept | None] = [None] * SLOTS
        self._last: Header | None = None  # the last frame that was shown
        self._by: int | None = None  # its packet, if it was shown from a slot

    def take(self, packet: int, headers: Sequence[Header]) -> None:
        """Take the frames of the next packet."""
        for header in headers:
            if header.existing is not None:
                self._show(packet, header.existing)
                continue
            if header.shown:
                step = None if header.key else self._step(header)
                if step is not None and step <= 0:
                    self._mark(self._by)
                self._last, self._by = header, None
            frame = _Kept(header, packet if len(headers) == 1 else None, header.shown)
            self._slots = [frame if header.kept >> k & 1 else old for k, old in enumerate(self._slots)]

    def _show(self, packet: int, slot: int) -> None:
        frame = self._slots[slot]
        if frame is None or not frame.header.showable:
            self._mark(packet)
            return
        step = self._step(frame.header)
        if step is not None and step < 0:
            self._mark(packet, None if frame.shown else self._by)
        elif frame.shown and self._is_any_waiting():  # encoders may repeat a frame, but hide one only to show it later
            self._mark(packet, frame.shown_by)
        if not frame.shown:
            frame.shown, frame.shown_by = True, packet
            if frame.packet is not None and step in (None, 1):  # nothing is missing before it
                self.unseen.discard(frame.packet)
        self._last, self._by = frame.header, packet
        if frame.header.key:  # decoding may begin here
            frame.header = frame.header._replace(showable=False)
            self._slots = [frame] * SLOTS

    def _mark(self, *packets: int | None) -> None:
        self.damaged.update(k for k in packets if k is not None)

    def _is_any_waiting(self) -> bool:
        return any(frame and not frame.shown and frame.header.showable for frame in self._slots)

    def _step(self, header: Header) -> int | None:
        """Return how far a frame is after the last one that was shown; None if unknown."""
        if header.order is None or self._last is None or self._last.order is None:
            return None
        half = 1 << header.order_bits >> 1
        return (header.order - self._last.order + half) % (2 * half) - half
