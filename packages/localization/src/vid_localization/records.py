"""Records of temporal localization in ``Sample.extra``."""

from __future__ import annotations

import numpy as np
from attrs import field, frozen

from vidcore.records import Record, shape
from vidcore.typing import Array

__all__ = ["NUM_PROPOSALS", "Boundaries", "PartBounds", "ProposalStages", "proposal_bounds"]

NUM_PROPOSALS = 32
"""Equal parts into which a video is divided to find what a sentence describes."""


@frozen(eq=False)
class Boundaries(Record):
    """``extra["boundaries"]``: predictions of a temporal evaluation network at every position of a video."""

    table: Array = field(validator=shape(None, 5))
    """(T, 5) float64: probabilities of action, start and end; start and end of the position as fractions."""


@frozen(eq=False)
class ProposalStages(Record):
    """``extra["stages"]``: the stages of proposals among the sampled frames of a whole video."""

    ticks: Array = field(validator=shape(None, 4))
    """(P, 4) int64: first sampled frames of the starting stage, the course and the ending stage, and end of that."""
    scales: Array = field(validator=shape(None, 2))
    """(P, 2) float64: fraction of the starting and of the ending stage that lies within the video."""
    frame_count: int = 0
    """Number of sampled frames of the video."""


@frozen(eq=False)
class PartBounds(Record):
    """``extra["parts"]``: the features of the equal parts of a video."""

    features: Array = field(validator=shape(None, 2))
    """(parts, 2) int32: first and last feature of each part."""


def proposal_bounds(frames: int, number: int) -> Array:
    """First and last frame of equal parts of a video: (number, 2) int64.

    >>> proposal_bounds(9, 4).tolist()
    [[0, 2], [2, 4], [4, 6], [6, 8]]
    """
    edges = np.linspace(0, max(frames - 1, 0), number + 1).astype(np.int64)
    return np.stack((edges[:-1], edges[1:]), 1)
