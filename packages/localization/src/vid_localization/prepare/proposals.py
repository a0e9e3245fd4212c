"""BSN's second stage: from boundary probabilities to proposals and their features, file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.overlaps import Array
from vid_localization.post.features import proposal_features
from vid_localization.post.proposals import generate_proposals
from vidcore.errors import DataError
from vidcore.features.files import read_table
from vidcore.files import atomic_write
from vidcore.sample import Sample

__all__ = ["PROPOSAL_COLUMNS", "generate_files", "video_features", "video_proposals"]

PROPOSAL_COLUMNS = ("tmin", "tmax", "tmin_score", "tmax_score", "score", "match_iou", "match_ioa")


def video_proposals(boundaries: Array, sample: Sample, peak_threshold: float = 0.5) -> Array:
    """Proposals of a video: rows of ``PROPOSAL_COLUMNS``, the last two only where its segments are known.

    Args:
        boundaries: (T, 5) probabilities of action, start and end, and bounds of the position.
        sample: of the video, with ``segments`` and a duration for training.
        peak_threshold: see ``boundary_candidates``.
    """
    seconds = sample.duration if sample.feature_duration is None else sample.feature_duration
    segments = None
    if sample.segments is not None and seconds is not None:
        segments = np.clip(sample.segments / seconds, 0, 1)
    return generate_proposals(boundaries[:, 1], boundaries[:, 2], segments, peak_threshold)


def video_features(
    boundaries: Array,
    proposals: Array,
    top_k: int,
    bsp_boundary_ratio: float = 0.2,
    num_sample_start: int = 8,
    num_sample_end: int = 8,
    num_sample_action: int = 16,
    num_sample_interp: int = 3,
) -> Array:
    """Features of the first ``top_k`` proposals; see ``vid_localization.post.proposal_features``."""
    return proposal_features(
        boundaries[:, 0],
        proposals[:top_k],
        bsp_boundary_ratio,
        num_sample_start,
        num_sample_end,
        num_sample_action,
        num_sample_interp,
    )


def generate_files(
    dataset: ActivityNetDataset,
    boundaries: Path,
    proposals: Path,
    features: Path,
    peak_threshold: float = 0.5,
    top_k: int = 1000,
    bsp_boundary_ratio: float = 0.2,
    workers: int = 4,
) -> Iterator[str]:
    """Write proposals (``.csv``) and features (``.npy``) of every video, and yield its name.

    What is there and not older than its input is left as it is, so that an interrupted call goes on.

    Args:
        dataset: the videos, and their segments.
        boundaries: folder of the tables that ``ANetMetric`` of type ``TEM`` writes.
        proposals, features: folders to write to.
        peak_threshold, top_k, bsp_boundary_ratio: see the functions above.
        workers: threads.

    Raises:
        DataError: a video has no boundary probabilities.
    """
    for folder in (proposals, features):
        folder.mkdir(parents=True, exist_ok=True)

    def generate(index: int) -> str:
        sample = dataset[index]
        name = str(sample.meta["video_name"])
        source = boundaries / f"{name}.csv"
        if not source.is_file():
            raise DataError(f"{source} does not exist: there are no boundary probabilities of {name}")
        table, array = proposals / f"{name}.csv", features / f"{name}.npy"
        if all(f.is_file() and f.stat().st_mtime >= source.stat().st_mtime for f in (table, array)):
            return name
        _, rows = read_table(source)
        found = video_proposals(rows, sample, peak_threshold)
        described = video_features(rows, found, top_k, bsp_boundary_ratio)
        _save(array, lambda file: np.save(file, described.astype(np.float32)))
        header = ",".join(PROPOSAL_COLUMNS[: found.shape[1]])
        _save(table, lambda file: np.savetxt(file, found, delimiter=",", header=header, comments=""))
        return name

    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(generate, range(len(dataset)))


def _save(path: Path, write: Callable[..., None]) -> None:
    with atomic_write(path) as file:
        write(file)
