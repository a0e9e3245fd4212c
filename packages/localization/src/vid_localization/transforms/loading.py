"""Transforms that read features and proposals."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from attrs import evolve, field, frozen

from vid_localization.records import NUM_PROPOSALS, PartBounds, proposal_bounds
from vidcore.errors import UserError, VideoError
from vidcore.features.files import SUFFIXES, FeatureInfo, read_features, read_table, rescale
from vidcore.protocols import ReadsFiles
from vidcore.records import Segments, Varying
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["LoadLocalizationFeature", "LoadProposalFeatures", "LoadProposals", "ProposalFile"]


@frozen
class LoadLocalizationFeature(ReadsFiles):
    """Read the features of the video: the input ``features`` (C, T) float32, whose T may vary.

    The file is ``sample.path``: ``.csv``, ``.npy`` or ``.pt``, one row for each time; an input ``features`` (T, C)
    replaces the file. What ``vidcore features`` has stored beside the file sets ``feature_duration``, and ``duration``
    if it is not known. ``feature_times`` are the middles of what the features describe, evenly spaced over
    ``feature_duration`` (or ``duration``).

    Args:
        length: number of positions that features are rescaled to by interpolation; default: no rescaling.
        max_length: crop longer features to this length at a random place (for training), and shift the segments.
            Segments cut to less than half are dropped; a place that keeps a segment is preferred. Default: no crop.
        crop_ratio: crop shorter features to a random part between these two, in the same way.
        feature_stride: frames between neighbouring features. The times of features without a known duration follow
            from it and the frame rate.
        clip_len: number of frames that a feature describes; default: ``feature_stride``.
    """

    length: int | None = None
    max_length: int | None = None
    crop_ratio: tuple[float, float] | None = None
    feature_stride: int | None = None
    clip_len: int | None = None
    suffixes: ClassVar = SUFFIXES
    """Suffixes of the files that this transform reads."""

    def __attrs_post_init__(self) -> None:
        if self.crop_ratio is not None and not 0 < self.crop_ratio[0] <= self.crop_ratio[1] <= 1:
            raise UserError(f"crop_ratio must be two ascending numbers above 0, at most 1; got {self.crop_ratio}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if the path or the frame rate is needed but not known, ``VideoError`` for a bad file."""
        given = sample.inputs.get("features")
        features: Array
        if isinstance(given, np.ndarray):
            features = given
        else:
            features, sample = read_features(_path(sample)), _with_info(sample)
        times: Array | None = None
        if self.feature_stride is not None and sample.feature_duration is None:
            times = self._times(sample, len(features), self.feature_stride)
            sample = sample.replace(feature_duration=float(times[0] + times[-1]))
        if self.length is not None:
            features, times = rescale(features, self.length), None
        seconds = sample.duration if sample.feature_duration is None else sample.feature_duration
        if times is None and seconds is not None:
            times = (np.arange(len(features)) + 0.5) * (seconds / len(features))
        count = self._count(len(features), rng)
        if count < len(features) and times is not None:
            first, sample = _window(sample, times, count, rng)
            features, times = features[first : first + count], times[:count]
        inputs = Varying(np.ascontiguousarray(features.T), axis=1)
        return sample.replace(feature_times=times).with_inputs(features=inputs)

    def _times(self, sample: Sample, count: int, stride: int) -> Array:
        if sample.fps is None:
            raise UserError(f"{sample.path}: feature_stride needs the frame rate (fps) of the video")
        times: Array = (np.arange(count) * stride + (self.clip_len or stride) / 2) / sample.fps
        return times

    def _count(self, length: int, rng: np.random.Generator) -> int:
        if self.max_length is not None and length > self.max_length:
            return self.max_length
        if self.crop_ratio is None:
            return length
        least, most = (max(round(length * ratio), 1) for ratio in self.crop_ratio)
        return int(rng.integers(least, most + 1))


def _with_info(sample: Sample) -> Sample:
    info = FeatureInfo.read(_path(sample))
    if info is None:
        return sample
    return sample.replace(
        duration=info.duration if sample.duration is None else sample.duration,
        feature_duration=sample.feature_duration if info.feature_duration is None else info.feature_duration,
        total_frames=sample.total_frames or info.frames,
        fps=sample.fps or info.fps,
    )


def _window(sample: Sample, times: Array, count: int, rng: np.random.Generator) -> tuple[int, Sample]:
    """First position of a random window of ``count`` positions, and the sample as if the window were its video."""
    step = (times[-1] - times[0]) / (len(times) - 1)
    seconds = float((count - 1) * step + 2 * times[0])
    starts = np.arange(len(times) - count + 1) * step
    segments = np.zeros((0, 2)) if sample.segments is None else sample.segments.spans
    moved = segments - starts[:, None, None]
    cut = moved.clip(0, seconds)
    kept = np.diff(cut)[..., 0] * 2 >= np.diff(moved)[..., 0]
    with_segment = np.flatnonzero(kept.any(1))
    first = int(rng.choice(with_segment if len(with_segment) else len(starts)))
    sample = sample.replace(duration=seconds, feature_duration=seconds)
    if sample.segments is not None:
        sample = sample.replace(segments=evolve(sample.segments.select(kept[first]), spans=cut[first, kept[first]]))
    return first, sample


@frozen(eq=False)
class ProposalFile:
    """A table of P generated proposals; all arrays are (P,) float32."""

    tmin: Array
    """Start, as a fraction of the video."""
    tmax: Array
    tmin_score: Array
    """Probability of starting there."""
    tmax_score: Array
    overlap: Array | None
    """Highest overlap with a true segment; None if the table does not have it."""

    @classmethod
    def read(cls, path: Path, top_k: int) -> ProposalFile:
        """Read the first ``top_k`` rows of a table with these columns; that of ``overlap`` is ``match_iou``.

        Raises ``VideoError``, which the policy of the loader applies to, if the file does not exist or is not valid.
        """
        if not path.is_file():
            raise VideoError(path, "this file of proposals does not exist; generate them first")
        names, rows = read_table(path)
        columns = {name: rows[:top_k, i].astype(np.float32) for i, name in enumerate(names)}
        missing = [n for n in ("tmin", "tmax", "tmin_score", "tmax_score") if n not in columns]
        if missing:
            raise VideoError(path, f"this file of proposals lacks the columns {', '.join(missing)}")
        tmin, tmax, tmin_score, tmax_score = (columns[n] for n in ("tmin", "tmax", "tmin_score", "tmax_score"))
        return cls(tmin, tmax, tmin_score, tmax_score, columns.get("match_iou"))


@frozen
class LoadProposals:
    """Read generated proposals and their features from files named after the video.

    Sets the input ``features`` (P, C) float32, ``proposals`` with scores (probability of the start times that of the
    end) and, if the table has them, the target ``overlaps`` (P,) float32.

    Args:
        top_k: largest number of proposals.
        pgm_proposals_dir: folder of the tables.
        pgm_features_dir: folder of the features.
        proposal_ext, feature_ext: suffixes of the files.
    """

    top_k: int
    pgm_proposals_dir: Path
    pgm_features_dir: Path
    proposal_ext: str = ".csv"
    feature_ext: str = ".npy"

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if the sample has no name or duration, ``VideoError`` for a bad file."""
        name = sample.key or _path(sample).stem
        table = ProposalFile.read(self.pgm_proposals_dir / f"{name}{self.proposal_ext}", self.top_k)
        path = self.pgm_features_dir / f"{name}{self.feature_ext}"
        features = read_features(path)[: self.top_k]
        if len(features) != len(table.tmin):
            raise VideoError(path, f"has features of {len(features)} proposals, but there are {len(table.tmin)}")
        seconds = sample.duration if sample.feature_duration is None else sample.feature_duration
        if seconds is None:
            raise UserError(f"{name}: has no duration, which proposals in seconds need")
        if table.overlap is not None:
            sample = sample.with_targets(overlaps=Varying(table.overlap))
        proposals = Segments(
            spans=np.stack((table.tmin, table.tmax), 1).astype(np.float64) * seconds,
            scores=table.tmin_score.astype(np.float64) * table.tmax_score,
        )
        return sample.replace(proposals=proposals).with_inputs(features=Varying(features))


@frozen
class LoadProposalFeatures(ReadsFiles):
    """Read the features of the video and pool them over its parts: the input ``features`` (parts, C) float32.

    ``extra["parts"]`` are the first and last feature of each part; both are clipped to the features of the file. A
    video without them, which is not from ``CharadesSTADataset``, is divided into ``proposals``: 32 equal parts. What
    ``vidcore features`` has stored beside the file sets its duration. An input ``features`` (T, C) replaces the file.

    Args:
        pool: maximum or mean of the features of a part.
    """

    pool: Literal["max", "mean"] = field(default="max")
    suffixes: ClassVar = SUFFIXES
    """Suffixes of the files that this transform reads."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Raises ``UserError`` if a video without parts has no duration, ``VideoError`` for a bad file."""
        given = sample.inputs.get("features")
        features = given if isinstance(given, np.ndarray) else read_features(_path(sample))
        parts = sample.extra.get("parts")
        if not isinstance(parts, PartBounds):
            sample, parts = _equal_parts(sample, len(features))
        first, last = np.minimum(parts.features, len(features) - 1).T
        pool = np.max if self.pool == "max" else np.mean
        pooled = np.stack([pool(features[a : b + 1], 0) for a, b in zip(first, last, strict=True)])
        return sample.with_inputs(features=pooled)


def _equal_parts(sample: Sample, count: int) -> tuple[Sample, PartBounds]:
    """Divide a video with ``count`` features into equal parts."""
    if sample.duration is None:
        sample = _with_info(sample)
    if sample.duration is None:
        raise UserError(f"{sample.path}: the duration of the video is not known; vidcore features stores it")
    bounds = proposal_bounds(count, NUM_PROPOSALS)
    return sample.replace(proposals=Segments(bounds / count * sample.duration)), PartBounds(bounds.astype(np.int32))


def _path(sample: Sample) -> Path:
    if sample.path is None:
        raise UserError("a sample without path has no features to load")
    return Path(sample.path)
