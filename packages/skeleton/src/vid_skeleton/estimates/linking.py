"""Who is who: the persons that an estimator found in single frames, linked over time by their joints."""

from __future__ import annotations

import numpy as np
from attrs import evolve
from scipy.optimize import linear_sum_assignment

from vidcore.persons import Persons
from vidcore.typing import Array

__all__ = ["link"]


def link(persons: Persons, limit: float = 0.5, patience: int = 30) -> Persons:
    """Return persons along a video with ``tracks``, numbers from 0 in the order in which they appear.

    In each frame, the Hungarian method gives persons to the tracks whose last joints are nearest. How far apart two
    persons are is the mean distance of the joints that both have, or of their centres if they share none, in units of
    the longer side of the larger one. The order of the persons within a frame has no influence.

    Args:
        persons: in the order of frames, with ``frames`` and ``points``; each has a joint.
        limit: distance from which two are never the same person.
        patience: frames for which a track without a person may be continued.
    """
    assert persons.frames is not None and persons.points is not None
    low, high = np.nanmin(persons.points, 1), np.nanmax(persons.points, 1)
    persons = persons.select(np.lexsort((*low.T, *high.T, -persons.scores, persons.frames)))
    assert persons.frames is not None and persons.points is not None
    tracks = np.zeros(len(persons), np.int64)
    last = np.zeros(0, np.int64)  # row of the last person of each track
    starts = np.flatnonzero(np.diff(persons.frames, prepend=-1))
    for start, end in zip(starts, [*starts[1:], len(persons)], strict=True):
        alive = np.flatnonzero(persons.frames[start] - persons.frames[last] <= patience + 1)
        near = np.maximum(limit - _distances(persons.points[last[alive]], persons.points[start:end]), 0)
        mine = np.full(end - start, -1)
        for row, column in zip(*linear_sum_assignment(near, maximize=True), strict=True):
            if near[row, column] > 0:
                mine[column] = alive[row]
        new = mine < 0
        mine[new] = len(last) + np.arange(new.sum())
        last = np.concatenate([last, np.zeros(new.sum(), np.int64)])
        last[mine], tracks[start:end] = np.arange(start, end), mine
    return evolve(persons, tracks=tracks)


def _distances(first: Array, second: Array) -> Array:
    """Return the distance of each two of (n, V, 2) and (m, V, 2) persons: (n, m)."""
    apart = np.linalg.norm(first[:, None] - second[None], axis=-1)
    shared = ~np.isnan(apart)
    mean = np.where(shared, apart, 0).sum(-1) / np.maximum(shared.sum(-1), 1)
    low, high = zip(*((np.nanmin(p, 1), np.nanmax(p, 1)) for p in (first, second)), strict=True)
    centres = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
    longer = [(b - a).max(-1) for a, b in zip(low, high, strict=True)]
    middle = np.linalg.norm(centres[0][:, None] - centres[1][None], axis=-1)
    return np.asarray(np.where(shared.any(-1), mean, middle) / np.maximum(np.maximum.outer(*longer), 1e-6))
