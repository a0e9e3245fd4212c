"""What is kept of each packet after the packets of a file were indexed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
from attrs import frozen

from vidcore.video.exact.order import Note

__all__ = ["PacketTable"]

Numbers = np.ndarray[Any, np.dtype[np.int64]]

UNKNOWN = np.iinfo(np.int64).min


@frozen(eq=False, slots=False)
class PacketTable:
    """Times and places of packets, in a tenth of the memory of their ``Note``: an hour has a hundred thousand."""

    rows: Numbers
    """(packets, 4): pts, dts, position in the file, size; ``UNKNOWN`` if the container does not have it."""
    simple: np.ndarray[Any, np.dtype[np.bool_]]
    """(packets,): whether a packet is the same after seeking: not one of MPEG-4, which are unpacked."""

    @classmethod
    def of(cls, notes: Sequence[Note]) -> Self:
        """Make the table of indexed packets."""
        values = (UNKNOWN if v is None else v for note in notes for v in (note.pts, note.dts, *note.place))
        rows = np.fromiter(values, np.int64, 4 * len(notes)).reshape(-1, 4)
        return cls(rows, np.array([note.pictures.kind is None for note in notes], np.bool_))

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _identified(self) -> bool:
        """Whether no two packets have the same place."""
        return len(np.unique(self.rows[:, 2:], axis=0)) == len(self)

    @cached_property
    def can_seek(self) -> bool:
        """Whether seeking finds every packet."""
        return self._identified and bool(self.simple.all())

    def stamps(self, numbers: Numbers) -> Numbers | None:
        """Return the pts of packets; None if one is unknown."""
        found: Numbers = self.rows[numbers, 0]
        return None if (found == UNKNOWN).any() else found

    def time_to_seek(self, number: int) -> int | None:
        """Return the time to seek to for a packet; None if seeking cannot find it."""
        pts, dts = self.rows[number, :2].tolist()
        time = pts if dts == UNKNOWN else dts
        return time if time != UNKNOWN and self._identified and self.simple[number] else None

    def number(self, position: int | None, size: int) -> int | None:
        """Return the number of the packet at that place; None if there is none."""
        place = (UNKNOWN if position is None else position, size)
        found = np.flatnonzero((self.rows[:, 2:] == place).all(1))
        return int(found[0]) if len(found) else None
