"""Who is who: persons linked over time by the overlap of their boxes."""

from __future__ import annotations

import numpy as np
from attrs import define, evolve, field
from scipy.optimize import linear_sum_assignment

from vid_persons.boxes import overlaps
from vidcore.persons import Persons
from vidcore.typing import Array
from vidcore.validators import at_least, in_range

__all__ = ["IoUTracker"]


@define
class IoUTracker:
    """Links persons to the tracks whose last boxes they overlap most, with the Hungarian method.

    Identities are numbers from 1 and are never used again. They do not depend on the order of the persons in a frame.
    """

    min_overlap: float = field(default=0.2, validator=in_range(0, 1))
    """Intersection over union from which a person may continue a track."""
    start_score: float = field(default=0.5, validator=in_range(0, 1))
    """Score from which a person may begin a track; persons with a lower score who continue none are left out."""
    patience: int = field(default=30, validator=at_least(0))
    """Frames for which a track without a person is remembered."""
    _boxes: dict[int, Array] = field(factory=dict, init=False)
    """Last box of each track that may be continued."""
    _unseen: dict[int, int] = field(factory=dict, init=False)
    """Frames since the last person of each of these tracks."""
    _next: int = field(default=1, init=False)

    def begin(self) -> None:
        """Forget all tracks: the next frame belongs to a different video."""
        self._boxes, self._unseen, self._next = {}, {}, 1

    def __call__(self, persons: Persons) -> Persons:
        """Return the persons in the next frame with ``tracks``, by track."""
        order = np.lexsort((*persons.boxes.T, -persons.scores))
        persons = persons.select(order)
        tracks = np.zeros(len(persons), np.int64)
        names = list(self._boxes)
        if names and len(persons):
            table = overlaps(np.stack([self._boxes[name] for name in names]), persons.boxes)
            table[table < self.min_overlap] = 0
            for row, column in zip(*linear_sum_assignment(table, maximize=True), strict=True):
                if table[row, column] > 0:
                    tracks[column] = names[row]
        for i in np.flatnonzero((tracks == 0) & (persons.scores >= self.start_score)):
            tracks[i], self._next = self._next, self._next + 1
        self._unseen = {name: frames + 1 for name, frames in self._unseen.items()}
        for track, box in zip(tracks.tolist(), persons.boxes, strict=True):
            if track:
                self._boxes[track], self._unseen[track] = box, 0
        self._unseen = {name: frames for name, frames in self._unseen.items() if frames <= self.patience}
        self._boxes = {name: self._boxes[name] for name in self._unseen}
        rows = np.argsort(tracks, kind="stable")[np.count_nonzero(tracks == 0) :]
        return evolve(persons, tracks=tracks).select(rows)
