"""From videos to features: a clip around every position of a video, through a model that describes it.

A video is decoded once and in order, however much its clips overlap, and only the frames of the clips at
hand are in memory.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any, Self, cast

import numpy as np
import torch
from attrs import define, field, frozen

from vidcore.batch import collate
from vidcore.engine.precision import autocast
from vidcore.errors import UserError, VideoError
from vidcore.features.files import rescale
from vidcore.predict.inputs import Video, as_sample
from vidcore.predict.predictor import Predictor
from vidcore.protocols import FeatureModel
from vidcore.randomness import sample_rng
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.loading import OpenVideo
from vidcore.transforms.sampling import SampleFrames
from vidcore.video.reader import VideoReader

__all__ = ["Extractor", "Features", "Stride"]

Array = np.ndarray[Any, np.dtype[Any]]


@frozen
class Stride:
    """Distance of the positions that are described.

    >>> Stride.parse("16"), Stride.parse("0.5s")
    (Stride(value=16.0, in_seconds=False), Stride(value=0.5, in_seconds=True))
    >>> str(Stride(0.5, True))
    '0.5s'
    """

    value: float
    in_seconds: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``16`` (frames) or ``0.5s`` (seconds). Raises ``UserError`` for anything else."""
        found = re.fullmatch(r"(\d+|\d*\.\d+)(\s*s)?", text.strip())
        if not found or float(found[1]) == 0 or (not found[2] and "." in found[1]):
            raise UserError(f"stride {text!r}: must be a number of frames like 16, or of seconds like 0.5s")
        return cls(float(found[1]), bool(found[2]))

    def __str__(self) -> str:
        return f"{self.value:g}{'s' if self.in_seconds else ''}"

    def frames(self, sample: Sample) -> float:
        """The distance in frames of an open video."""
        if not self.in_seconds:
            return self.value
        if not sample.fps:
            raise VideoError(sample.path, "has no frame rate, which a stride in seconds needs")
        return self.value * sample.fps


@frozen(eq=False)
class Features:
    """What a model says of a video, position after position."""

    values: Array
    """(T, C) float32. Row i is of a clip around ``(i + 0.5) * feature_duration / T`` seconds."""
    frames: int
    """Of the video."""
    fps: float | None
    duration: float | None
    """Seconds of the video; None where its frame rate is not known."""
    feature_duration: float | None
    """Seconds, from the beginning, that the positions cover."""

    def sample(self, video: str) -> Sample:
        """A Sample of the video for a model of features: what a pipeline that reads feature files begins with."""
        return Sample(
            path=video,
            total_frames=self.frames,
            fps=self.fps,
            duration=self.duration,
            feature_duration=self.feature_duration,
            meta={"features": self.values},
        )


@define
class Forward:
    """A reader that decodes each of the frames that are wanted at all once, in order, as clips come to need them."""

    video: VideoReader
    wanted: Array
    """The frames of all clips, ascending."""
    _read: int = 0
    _kept: dict[int, Array] = field(factory=dict)

    def __len__(self) -> int:
        return len(self.video)

    def read(self, indices: Array) -> Array:
        """Return the (ascending) frames of a clip; none before its first can be asked for later."""
        until = int(np.searchsorted(self.wanted, indices[-1], "right"))
        self._kept = {k: frame for k, frame in self._kept.items() if k >= indices[0]}
        new = self.wanted[self._read : until]
        new = new[new >= indices[0]]
        if len(new):
            self._kept |= zip(new.tolist(), self.video.read(new), strict=True)
        self._read = until
        return np.stack([self._kept[k] for k in indices.tolist()])

    def close(self) -> None:
        """Do nothing: the video stays open for the clips to come."""


class Extractor:
    """Applies a model to clips at regular distances over whole videos.

    A clip has the length and interval of the Task's test pipeline, and is prepared by its other steps; crops
    are averaged. Its middle is that of its position, ``stride`` long; at the ends of a video the first and last
    frame stand for what is missing.

    Args:
        predictor: model and pipeline.
        stride: distance of positions.
        length: rescale the features of every video to so many positions.
        batch_size: clips at once.
        workers: videos that are decoded at the same time.

    Raises:
        UserError: the model gives no features, or the pipeline does not tell what a clip is.
    """

    def __init__(
        self, predictor: Predictor, stride: Stride, length: int | None = None, batch_size: int = 8, workers: int = 2
    ) -> None:
        if not isinstance(predictor.model, FeatureModel):
            name = type(predictor.model).__name__
            raise UserError(f"{predictor.task.name}: model: {name} has no features to give (no method clip_features)")
        self.predictor = predictor
        self.stride = stride
        self.length = length
        self.batch_size = batch_size
        self.workers = workers
        steps = predictor.pipeline.steps
        samplers = [name for name, step in steps.items() if isinstance(step, SampleFrames)]
        if len(samplers) != 1:
            raise UserError(
                f"{predictor.task.name}: the pipeline needs one step that says what a clip is (SampleFrames with "
                f"clip_len and frame_interval), and has {len(samplers)}"
            )
        names, at = list(steps), list(steps).index(samplers[0])
        self._sampler_name, self._sampler = samplers[0], cast(SampleFrames, steps[samplers[0]])
        self._open = Pipeline({name: steps[name] for name in names[:at]})
        self._prepare = Pipeline({name: steps[name] for name in names[at + 1 :]})

    def __call__(self, videos: Iterable[Video]) -> Iterator[tuple[int, Features | VideoError]]:
        """Yield (number of the video, its features or why there are none) as they are ready.

        Those of one video do not depend on the others, nor on ``workers``.
        """
        todo = enumerate(videos)
        with ThreadPoolExecutor(self.workers) as pool:
            active = deque(_Job.start(pool, number, self._batches(v)) for number, v in islice(todo, self.workers))
            while active:
                job = active.popleft()
                try:
                    clips = job.coming.result()
                    if clips:
                        job.coming = pool.submit(next, job.batches, None)
                        job.rows.append(self._describe(clips))
                        job.last = clips[-1].replace(inputs=None)
                        active.append(job)
                        continue
                    yield job.number, self._joined(job)
                except VideoError as error:
                    yield job.number, error
                active.extend(_Job.start(pool, number, self._batches(v)) for number, v in islice(todo, 1))

    def samples(self, videos: Iterable[Video]) -> Iterator[Sample | VideoError]:
        """Yield a Sample with its features for each video, in order, or why there is none."""
        names: list[str] = []

        def noted() -> Iterator[Video]:
            for video in videos:
                names.append(f"array {len(names)}" if isinstance(video, np.ndarray) else str(video))
                yield video

        ready: dict[int, Features | VideoError] = {}
        following = 0
        for number, made in self(noted()):
            ready[number] = made
            while following in ready:
                found = ready.pop(following)
                yield found if isinstance(found, VideoError) else found.sample(names[following])
                following += 1

    def _batches(self, video: Video) -> Iterator[list[Sample]]:
        """Prepared clips of a video, in order."""
        rng = sample_rng(0, 0, 0)
        sample = self._open(as_sample(video), rng)
        if sample.video is None:  # a pipeline for folders of frames
            sample = OpenVideo()(sample, rng)
        assert sample.video is not None
        with sample.video as opened:
            frames, covered = self._frames(sample)
            forward: Any = Forward(opened, np.unique(frames))
            clip = sample.replace(
                video=forward,
                clip_len=frames.shape[1],
                num_clips=1,
                frame_interval=self._sampler.frame_interval,
                duration=len(opened) / sample.fps if sample.fps else None,
                feature_duration=covered / sample.fps if sample.fps else None,
            )
            for first in range(0, len(frames), self.batch_size):
                rows = frames[first : first + self.batch_size] + sample.start_index
                yield [self._prepare(clip.replace(frame_indices=row), rng) for row in rows]

    def _frames(self, sample: Sample) -> tuple[Array, float]:
        """Frames of every clip (T, clip_len), counted from 0, and how many frames the positions cover."""
        total, step = sample.total_frames or 0, self.stride.frames(sample)
        step = min(step, total)  # a video shorter than that is one position
        middles = (np.arange(np.ceil(total / step - 0.5)) + 0.5) * step  # those that lie inside
        offsets = self._sampler.offsets(sample)
        starts = np.floor(middles - (offsets[-1] + 1) / 2 + 0.5).astype(np.int64)
        return np.clip(starts[:, None] + offsets, 0, total - 1), len(middles) * step

    def _describe(self, clips: list[Sample]) -> Array:
        """(clips, C) float32."""
        model, device = self.predictor.model, self.predictor.device
        with torch.inference_mode():
            batch = model.preprocess(collate(clips).to(device))
            try:
                with autocast(self.predictor.precision, device):
                    features: torch.Tensor = model.clip_features(batch.inputs)
            except UserError as error:
                frames = f"clips are of {clips[0].clip_len} frames here, as clip_len of {self._sampler_name!r} says"
                raise UserError(f"{error}; {frames}") from error
        return features.float().cpu().numpy()

    def _joined(self, job: _Job) -> Features:
        values = np.concatenate(job.rows)
        if self.length is not None:
            values = rescale(values, self.length)
        about = job.last
        assert about is not None
        return Features(values, about.total_frames or 0, about.fps, about.duration, about.feature_duration)


@define
class _Job:
    """A video on its way."""

    number: int
    batches: Iterator[list[Sample]]
    coming: Future[list[Sample] | None]
    rows: list[Array] = field(factory=list)
    last: Sample | None = None

    @classmethod
    def start(cls, pool: ThreadPoolExecutor, number: int, batches: Iterator[list[Sample]]) -> Self:
        return cls(number, batches, pool.submit(next, batches, None))
