"""BSN's second stage: files of proposals and their features from boundary probabilities."""

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

    Files that are not older than their input are kept, so that an interrupted job resumes.

    Args:
        boundaries: folder of the tables that ``ANetMetric`` of type ``TEM`` writes, ``tem_results``.
        ann_file: annotations of the videos; the files then have the overlaps of proposals with true segments.
            Default: every table is a video, and training computes the overlaps.
        peak_threshold: boundaries are local peaks and positions above this fraction of the highest probability.
        top_k: number of proposals of a video that get features.
        bsp_boundary_ratio, num_sample_start, num_sample_end, num_sample_action, num_sample_interp: see
            ``vid_localization.post.features.proposal_features``.
        workers: number of threads.
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
        """Write the files of every ``world``-th video, starting at video ``rank``.

        Raises:
            DataError: there are no boundary probabilities, or a video of ``ann_file`` has none.
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
            raise DataError(f"{self.boundaries}: has no tables of boundary probabilities")
        return [Sample(key=path.stem) for path in found]

    def generate(self, folder: Path, videos: Sequence[Sample]) -> Iterator[str]:
        """Write the files of videos, and yield the name of each."""
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
        """Proposals of a video: rows of ``PROPOSAL_COLUMNS``, without the last two if it has no true segments.

        Args:
            boundaries: (T, 5), see ``Boundaries``.
            sample: the video; for training with ``segments`` and a duration.
        """
        seconds = sample.duration if sample.feature_duration is None else sample.feature_duration
        segments = None
        if sample.segments is not None and seconds is not None:
            segments = np.clip(sample.segments.spans / seconds, 0, 1)
        return generate_proposals(boundaries[:, 1], boundaries[:, 2], segments, self.peak_threshold)

    def features(self, boundaries: Array, proposals: Array) -> Array:
        """Features of the first ``top_k`` proposals."""
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
