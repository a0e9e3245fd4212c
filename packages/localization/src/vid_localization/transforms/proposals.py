"""Proposals of another network, to be refined."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from attrs import field, frozen

from vid_localization.names import result_name, video_name
from vid_localization.results import read_results
from vidcore.errors import AnnotationError
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["LoadProposalSegments"]


@frozen
class LoadProposalSegments:
    """Set ``proposals`` to the segments of the video in a result file.

    The file is ``results.json`` of a run with ``ANetMetric``, in ActivityNet's submission format.

    Args:
        file: file with the segments.
        top_k: number of segments of a video, the best.

    Raises ``AnnotationError`` if an entry of the file is not valid, ``DataError`` if the file does not exist.
    """

    file: Path
    top_k: int = 100
    _videos: Mapping[str, Array] = field(init=False, repr=False, eq=False)
    """(n, 3) start, end and score by the name of the video; read once, before worker processes start."""

    @_videos.default
    def _read(self) -> Mapping[str, Array]:
        found = read_results(self.file)
        return {name: np.array([(*row.segment, row.score) for row in rows]) for name, rows in found.items()}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``AnnotationError`` if the file does not have the video."""
        name = result_name(video_name(sample))
        rows = self._videos.get(name)
        if rows is None or not len(rows):
            raise AnnotationError(f"{self.file}: has no proposals of {name}")
        rows = rows[np.argsort(-rows[:, 2], kind="stable")][: self.top_k]
        return sample.replace(proposals=Segments(rows[:, :2], scores=rows[:, 2]))
