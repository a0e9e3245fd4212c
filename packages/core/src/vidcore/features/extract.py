"""Extract features from videos: a model is applied to a clip around every position.

A video is decoded once and in order, however much its clips overlap, and only the frames of the current clips are in
memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from itertools import islice
from typing import Self, cast

import numpy as np
import torch
from attrs import define, field, frozen

from vidcore.batch import collate
from vidcore.engine.prepare import autocast
from vidcore.errors import UserError, VideoError
from vidcore.features.files import rescale
from vidcore.nn import FeatureModel
from vidcore.predict.inputs import Video, as_sample
from vidcore.predict.predictor import Predictor
from vidcore.randomness import sample_rng
from vidcore.records import Clip
from vidcore.sample import Sample
from vidcore.transforms.compose import Pipeline
from vidcore.transforms.loading import OpenVideo
from vidcore.transforms.sampling import SampleFrames
from vidcore.typing import Array
from vidcore.video.window import ForwardReader, Positions, Span

__all__ = ["Extractor", "Features"]


@frozen(eq=False)
class Features:
    """Features of a video at its positions."""

    values: Array
    """(T, C) float32. Row i belongs to a clip around ``(i + 0.5) * feature_duration / T`` seconds."""
    frames: int
    """Number of frames in the video."""
    fps: float | None
    duration: float | None
    """Seconds of the video; None if its frame rate is unknown."""
    feature_duration: float | None
    """Seconds, from the beginning, that the positions cover."""

    def sample(self, video: str) -> Sample:
        """Return a Sample of the video for a pipeline that reads feature files."""
        return Sample(
            path=video,
            total_frames=self.frames,
            fps=self.fps,
            duration=self.duration,
            feature_duration=self.feature_duration,
            inputs={"features": self.values},
        )


class Extractor:
    """Applies a model to clips at regular distances over whole videos.

    Clips have the length and interval of the Task's test pipeline, whose other steps prepare them; crops are averaged.
    Positions are ``stride`` long, and clips are centred on them; the first and last frame are repeated at the ends of a
    video.

    Args:
        predictor: model and pipeline.
        stride: distance between positions.
        length: number of positions to rescale the features of every video to; default: not rescaled.
        batch_size: clips per forward pass.
        workers: videos to decode at the same time.
        logits: class scores (before a softmax) instead of the features that they are computed from.

    Raises:
        UserError: the model provides no features, or the pipeline does not define clips.
    """

    def __init__(
        self,
        predictor: Predictor,
        stride: Span,
        length: int | None = None,
        batch_size: int = 8,
        workers: int = 2,
        logits: bool = False,
    ) -> None:
        model = predictor.model
        if not isinstance(model, FeatureModel):
            name = type(model).__name__
            raise UserError(f"{predictor.task.name}: model: {name} provides no features (it is not a FeatureModel)")
        self.predictor = predictor
        self._model = model
        self._apply = model.clip_logits if logits else model.clip_features
        self.stride = stride
        self.length = length
        self.batch_size = batch_size
        self.workers = workers
        steps = predictor.pipeline.steps
        samplers = [name for name, step in steps.items() if isinstance(step, SampleFrames)]
        if len(samplers) != 1:
            raise UserError(
                f"{predictor.task.name}: the pipeline must have one step that defines clips (SampleFrames with "
                f"clip_len and frame_interval), and has {len(samplers)}"
            )
        names, at = list(steps), list(steps).index(samplers[0])
        self._sampler_name, self._sampler = samplers[0], cast(SampleFrames, steps[samplers[0]])
        self._open = Pipeline({name: steps[name] for name in names[:at]})
        self._prepare = Pipeline({name: steps[name] for name in names[at + 1 :]})

    def __call__(self, videos: Iterable[Video]) -> Iterator[tuple[int, Features | VideoError]]:
        """Yield (index of the video, its features or an error) as they become ready.

        The features of a video depend neither on the other videos nor on ``workers``.
        """
        todo = enumerate(videos)
        with ThreadPoolExecutor(self.workers) as pool:
            active = deque(_InFlight.start(pool, number, self._batches(v)) for number, v in islice(todo, self.workers))
            while active:
                job = active.popleft()
                try:
                    clips = job.coming.result()
                    if clips:
                        job.coming = pool.submit(next, job.batches, None)
                        job.rows.append(self._describe(clips))
                        job.last = clips[-1].replace(inputs={})
                        active.append(job)
                        continue
                    yield job.number, self._joined(job)
                except VideoError as error:
                    yield job.number, error
                active.extend(_InFlight.start(pool, number, self._batches(v)) for number, v in islice(todo, 1))

    def samples(self, videos: Iterable[Video]) -> Iterator[Sample | VideoError]:
        """Yield a Sample with its features, or an error, for each video, in order."""
        names: list[str] = []

        def named() -> Iterator[Video]:
            for video in videos:
                names.append(f"array {len(names)}" if isinstance(video, np.ndarray) else str(video))
                yield video

        ready: dict[int, Features | VideoError] = {}
        following = 0
        for number, made in self(named()):
            ready[number] = made
            while following in ready:
                found = ready.pop(following)
                yield found if isinstance(found, VideoError) else found.sample(names[following])
                following += 1

    def _batches(self, video: Video) -> Iterator[list[Sample]]:
        """Yield batches of prepared clips of a video, in order."""
        rng = sample_rng(0, 0, 0)
        sample = self._open(as_sample(video, 0, self.predictor.names), rng)
        if sample.video is None and self.predictor.reads_frames:  # a pipeline for folders of frames
            sample = OpenVideo()(sample, rng)
        with nullcontext() if sample.video is None else sample.video as opened:  # none if it reads sound
            total = (sample.total_frames or 1) if opened is None else len(opened)
            step = self.stride.frames(sample.fps, sample.path)
            positions = Positions.of(total, step, self._sampler.offsets(sample))
            sample = sample.replace(
                video=None if opened is None else ForwardReader(opened, positions.wanted()),
                duration=total / sample.fps if sample.fps else None,
                feature_duration=positions.covered / sample.fps if sample.fps else None,
            )
            for first in range(0, len(positions), self.batch_size):
                rows = positions.frames(slice(first, first + self.batch_size)) + sample.start_index
                clips = (Clip(row, len(row), interval=self._sampler.frame_interval) for row in rows)
                yield [self._prepare(sample.replace(clip=chosen), rng) for chosen in clips]

    def _describe(self, clips: list[Sample]) -> Array:
        """Return the features of clips: (clips, C) float32."""
        model, device = self._model, self.predictor.device
        with torch.inference_mode():
            batch = model.preprocess(collate(clips).to(device))
            try:
                with autocast(self.predictor.precision, device):
                    features: torch.Tensor = self._apply(batch.inputs)
            except UserError as error:
                frames = f"clips have {self._sampler.clip_len} frames (clip_len of {self._sampler_name!r})"
                raise UserError(f"{error}; {frames}") from error
        return features.float().cpu().numpy()

    def _joined(self, job: _InFlight) -> Features:
        values = np.concatenate(job.rows)
        about = job.last
        assert about is not None
        if not np.isfinite(values).all():
            raise VideoError(about.path or f"video {job.number}", "its features contain NaN or Inf")
        if self.length is not None:
            values = rescale(values, self.length)
        return Features(values, about.total_frames or 0, about.fps, about.duration, about.feature_duration)


@define
class _InFlight:
    """A video of which some batches are done."""

    number: int
    batches: Iterator[list[Sample]]
    coming: Future[list[Sample] | None]
    rows: list[Array] = field(factory=list)
    last: Sample | None = None

    @classmethod
    def start(cls, pool: ThreadPoolExecutor, number: int, batches: Iterator[list[Sample]]) -> Self:
        return cls(number, batches, pool.submit(next, batches, None))
