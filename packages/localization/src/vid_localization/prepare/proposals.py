"""BSN's second stage: from boundary probabilities to proposals and their features, file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from attrs import frozen

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.names import safe_path
from vid_localization.post.features import proposal_features
from vid_localization.post.proposals import generate_proposals
from vidcore.errors import DataError
from vidcore.features.files import read_table
from vidcore.files import atomic_write
from vidcore.plugins.catalog import Catalog
from vidcore.sample import Sample
from vidcore.tools.progress import progress_bar
from vidcore.typing import Array

__all__ = ["PROPOSAL_COLUMNS", "GenerateProposals"]

PROPOSAL_COLUMNS = ("tmin", "tmax", "tmin_score", "tmax_score", "score", "match_iou", "match_ioa")


@frozen
class GenerateProposals:
    """Write proposals of every video (``pgm_proposals/NAME.csv``) and their features (``pgm_features/NAME.npy``).

    What is there and not older than its input is left as it is, so that an interrupted call goes on.

    Args:
        boundaries: folder of the tables that ``ANetMetric`` of type ``TEM`` writes, ``tem_results``.
        ann_file: annotations of the videos; proposals then come with their overlap with the true segments. Without,
            what is wanted is a proposal file for every table, and training finds out the overlaps itself.
        peak_threshold: what exceeds this share of the highest probability may be a boundary, as may local peaks.
        top_k: how many proposals of a video get features.
        bsp_boundary_ratio: half the width of the zones around start and end, in lengths of the proposal.
        num_sample_start, num_sample_end, num_sample_action: bins of each zone.
        num_sample_interp: points per bin.
        workers: threads.
    """

    boundaries: Path
    ann_file: Path | None = None
    peak_threshold: float = 0.5
    top_k: int = 1000
    bsp_boundary_ratio: float = 0.2
    num_sample_start: int = 8
    num_sample_end: int = 8
    num_sample_action: int = 16
    num_sample_interp: int = 3
    workers: int = 4

    def __call__(self, folder: Path, rank: int = 0, world: int = 1, catalog: Catalog | None = None) -> None:
        """Write the files of every ``world``-th video, from video ``rank`` on.

        Raises:
            DataError: there are no boundary probabilities, or none of a video of ``ann_file``.
        """
        videos = self.videos()[rank::world]
        for _ in progress_bar(self.generate(folder, videos), "proposals", len(videos)):
            pass

    def videos(self) -> list[Sample]:
        """The videos that get proposals: those of ``ann_file``, or all with boundary probabilities."""
        if self.ann_file is not None:
            dataset = ActivityNetDataset(self.ann_file)
            return [dataset[i] for i in range(len(dataset))]
        found = sorted(self.boundaries.glob("*.csv"))
        if not found:
            raise DataError(f"{self.boundaries}: there are no tables of boundary probabilities")
        return [Sample(key=path.stem) for path in found]

    def generate(self, folder: Path, videos: Sequence[Sample]) -> Iterator[str]:
        """Write the files of these videos, and yield the name of each."""
        for part in ("pgm_proposals", "pgm_features"):
            (folder / part).mkdir(parents=True, exist_ok=True)

        def one(sample: Sample) -> str:
            name = str(sample.key)
            source = self.boundaries / f"{name}.csv"
            if not source.is_file():
                raise DataError(f"{source} does not exist: there are no boundary probabilities of {name}")
            table = safe_path(folder / "pgm_proposals", name, ".csv")
            array = safe_path(folder / "pgm_features", name, ".npy")
            if all(f.is_file() and f.stat().st_mtime >= source.stat().st_mtime for f in (table, array)):
                return name
            _, rows = read_table(source)
            found = self.proposals(rows, sample)
            described = self.features(rows, found).astype(np.float32)
            _save(array, lambda file: np.save(file, described))
            header = ",".join(PROPOSAL_COLUMNS[: found.shape[1]])
            _save(table, lambda file: np.savetxt(file, found, delimiter=",", header=header, comments=""))
            return name

        with ThreadPoolExecutor(self.workers) as pool:
            yield from pool.map(one, videos)

    def proposals(self, boundaries: Array, sample: Sample) -> Array:
        """Proposals of a video: rows of ``PROPOSAL_COLUMNS``, the last two only where its segments are known.

        Args:
            boundaries: (T, 5) probabilities of action, start and end, and bounds of the position.
            sample: of the video, with ``segments`` and a duration for training.
        """
        seconds = sample.duration if sample.feature_duration is None else sample.feature_duration
        segments = None
        if sample.segments is not None and seconds is not None:
            segments = np.clip(sample.segments.spans / seconds, 0, 1)
        return generate_proposals(boundaries[:, 1], boundaries[:, 2], segments, self.peak_threshold)

    def features(self, boundaries: Array, proposals: Array) -> Array:
        """Features of the first ``top_k`` proposals; see ``vid_localization.post.proposal_features``."""
        return proposal_features(
            boundaries[:, 0],
            proposals[: self.top_k],
            self.bsp_boundary_ratio,
            self.num_sample_start,
            self.num_sample_end,
            self.num_sample_action,
            self.num_sample_interp,
        )


def _save(path: Path, write: Callable[..., None]) -> None:
    with atomic_write(path) as file:
        write(file)
