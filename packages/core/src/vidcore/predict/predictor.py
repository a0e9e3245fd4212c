"""A trained model with its pipeline: ``vidcore predict`` and ``vidcore.Predictor``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal, Self

import torch

from vidcore.batch import Batch, collate
from vidcore.engine.dist import pick_device
from vidcore.engine.finite import unusable
from vidcore.engine.prepare import autocast, prepare_inference
from vidcore.errors import UserError, VideoError
from vidcore.nn import Model
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.predict.inputs import FrameNames, Video, as_sample
from vidcore.predict.output import top_classes
from vidcore.predict.trained import Trained
from vidcore.protocols import ReadsBoxes, ReadsFiles, ReadsJoints, ReadsText
from vidcore.randomness import sample_rng
from vidcore.records import Text
from vidcore.sample import Sample
from vidcore.task.names import check_names
from vidcore.task.task import Task
from vidcore.transforms.compose import Pipeline
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = ["Predictor", "top_classes"]


class Predictor:
    """Applies the test pipeline of a Task and a checkpoint to videos.

    Args:
        task: a Task, or its path, or the name of a recipe; or the path of a release, which has a Task and weights.
        checkpoint: weights of a run, or published ones, or a recipe that has some; default: those of the release, or of
            the recipe.
        views: ``one`` takes one clip (if the model allows) and one crop, in the middle of the video; ``test`` takes all
            views of the test pipeline, which needs many times as long.
        device: ``"cpu"``, ``"cuda"``, ...; default: that of the Task.
        batch_size: videos per forward pass; default: that of the Task for testing.
        workers: threads that decode.
        describe: returns the Samples to predict for videos, such as their features
            (``vidcore.features.extract.Extractor.samples``) or the classes of whole videos
            (``vidcore.predict.scores.with_scores``).
        sentence: what to find, for a model that reads a sentence; may be changed between calls.
        overrides: ``KEY=VALUE`` strings, as in ``--set``.
        catalog: installed components; default: ``load_plugins()``.

    Raises:
        UserError: the Task is not valid or has no evaluation data, or the checkpoint does not fit.

    Example::

        predictor = Predictor("task.toml", "runs/task/best.pt")  # or Predictor("release.safetensors")
        for sample in predictor(["a.mp4", "b.mp4"]):
            print(sample.path, top_classes(sample, 5))
    """

    def __init__(
        self,
        task: Task | str | Path,
        checkpoint: str | Path | None = None,
        *,
        views: Literal["one", "test"] = "one",
        device: str | None = None,
        batch_size: int | None = None,
        workers: int = 2,
        describe: Callable[[Iterable[Video]], Iterable[Sample | VideoError]] | None = None,
        sentence: str | None = None,
        overrides: Sequence[str] = (),
        catalog: Catalog | None = None,
    ) -> None:
        if not isinstance(task, Task):
            task = Task.load(task, catalog or load_plugins(), overrides)
        part = task.prediction_part()
        runtime = task.build("runtime")
        self.task = task
        self.names = FrameNames.of(task)
        self.batch_size = batch_size or task.get(f"{part}.batch_size") or 1
        self.workers = max(workers, 1)
        self.precision = runtime.precision
        self.device = pick_device(device or runtime.device)
        trained = Trained.load(task, checkpoint, views)
        self.model: Model = prepare_inference(trained.model, runtime, self.device)
        self.pipeline = Pipeline(self.model.pipeline(trained.steps))
        self.class_names, self.views, self.test_views = trained.class_names, trained.views, trained.test_views
        self.thresholds = trained.thresholds
        self.sentence = sentence
        reads_text = any(isinstance(step, ReadsText) for step in self.pipeline.steps.values())
        if reads_text != (sentence is not None):
            needs = "reads a sentence, and there is none" if reads_text else "does not read a sentence"
            raise UserError(f"{task.name}: {needs} (--sentence)")
        self._describe = describe

    @property
    def reads_frames(self) -> bool:
        """Whether the pipeline reads the frames of videos, not their sound or other files."""
        return not any(isinstance(step, ReadsFiles) for step in self.pipeline.steps.values())

    @property
    def reads_videos(self) -> bool:
        """Whether the pipeline reads videos (their frames or their sound), not files of features."""
        return VIDEO_SUFFIXES[0] in self._pipeline_suffixes

    @property
    def reads_joints(self) -> bool:
        """Whether the pipeline reads the joints of persons."""
        return any(isinstance(step, ReadsJoints) for step in self.pipeline.steps.values())

    @property
    def reads_boxes(self) -> bool:
        """Whether the pipeline reads the boxes of persons in key frames."""
        return any(isinstance(step, ReadsBoxes) for step in self.pipeline.steps.values())

    @property
    def suffixes(self) -> Sequence[str]:
        """Suffixes of the files that this predictor reads: videos, unless a step of the pipeline reads other files."""
        return self._pipeline_suffixes if self._describe is None else VIDEO_SUFFIXES

    @property
    def _pipeline_suffixes(self) -> Sequence[str]:
        found = (step.suffixes for step in self.pipeline.steps.values() if isinstance(step, ReadsFiles))
        return next(found, VIDEO_SUFFIXES)

    def __call__(self, videos: Iterable[Video], on_error: Literal["raise", "keep"] = "raise") -> list[Sample]:
        """Return one predicted Sample per video, in order.

        Args:
            videos: paths, folders of frames that are named as in the dataset for testing, arrays (frames, height,
                width, 3) uint8 RGB or (frames, height, width, 2) uint8 flow, or Samples.
            on_error: ``keep`` returns a Sample with ``error`` for a video that cannot be read, instead of raising
                ``VideoError``.
        """
        return list(self.iter(videos, on_error))

    def iter(self, videos: Iterable[Video], on_error: Literal["raise", "keep"] = "raise") -> Iterator[Sample]:
        """Yield what ``__call__`` returns, in order, as it becomes ready: for any number of videos."""
        todo = enumerate(videos if self._describe is None else self._describe(videos))
        with ThreadPoolExecutor(self.workers) as pool:
            ahead = [pool.submit(self._prepare, *item) for item in islice(todo, self.batch_size)]
            while ahead:
                ready = [future.result() for future in ahead]
                ahead = [pool.submit(self._prepare, *item) for item in islice(todo, self.batch_size)]
                yield from self._predict(ready, on_error)

    def _prepare(self, index: int, video: Video | VideoError) -> Sample | VideoError:
        try:
            if isinstance(video, VideoError):
                return video
            sample = as_sample(video, index, self.names)
            if self.sentence is not None:
                sample = sample.replace(text=Text((self.sentence,)))
            return self.pipeline(sample, sample_rng(0, 0, index))
        except VideoError as error:
            return error

    def _predict(self, items: Sequence[Sample | VideoError], on_error: str) -> Iterator[Sample]:
        good = [item for item in items if isinstance(item, Sample)]
        results = iter(self._named_predictions(good) if good else [])
        for item in items:
            sample = item if isinstance(item, VideoError) else next(results)
            if isinstance(sample, VideoError):
                if on_error == "raise":
                    raise sample
                yield Sample(path=sample.path, error=str(sample))
            else:
                yield sample

    def predict(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the predictions of the model for samples that the pipeline has prepared, with class names.

        Raises ``VideoError`` if one contains NaN or Inf.
        """
        found = self._named_predictions(samples)
        for sample in found:
            if isinstance(sample, VideoError):
                raise sample
        return [sample for sample in found if isinstance(sample, Sample)]

    def _named_predictions(self, samples: Sequence[Sample]) -> list[Sample | VideoError]:
        found = self._forward(collate(samples))
        first = next((sample for sample in found if isinstance(sample, Sample)), None)
        if first is not None and first.class_names is None and first.scores is not None:
            check_names(self.task, self.class_names, len(first.scores))
        return [
            sample
            if isinstance(sample, VideoError)
            else sample.replace(class_names=sample.class_names or self.class_names)
            for sample in found
        ]

    def _forward(self, batch: Batch) -> list[Sample | VideoError]:
        with torch.inference_mode():
            batch = self.model.preprocess(batch.to(self.device))
            with autocast(self.precision, self.device):
                outputs = self.model(batch.inputs)
            predictions = self.model.predict(outputs, batch)
            wrong = unusable(outputs, predictions)
        return [
            VideoError(sample.path or f"video {sample.index}", wrong[i]) if i in wrong else sample
            for i, sample in enumerate(predictions)
        ]

    def close(self) -> None:
        """Free the memory of the model."""
        del self.model, self._describe

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
