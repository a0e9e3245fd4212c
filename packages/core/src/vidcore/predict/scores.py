"""Scores of whole videos for a model that uses them, as a model that proposes segments without classes does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import tee

import numpy as np

from vidcore.errors import UserError, VideoError
from vidcore.predict.inputs import Video, as_sample
from vidcore.predict.predictor import Predictor
from vidcore.sample import Sample

__all__ = ["Describe", "with_scores"]

Describe = Callable[[Iterable[Video]], Iterable[Sample | VideoError]]


def with_scores(classifier: Predictor, describe: Describe | None = None, top: int = 2) -> Describe:
    """Return a ``describe`` of ``Predictor`` whose Samples have the scores and class names of a classifier.

    Args:
        classifier: predicts the classes of whole videos.
        describe: returns the Samples that get the scores; default: the videos themselves.
        top: number of classes per video to keep; the scores of the others become 0.

    Raises:
        UserError: the classifier does not read videos, or its model returns no class scores.
    """
    if not classifier.reads_videos:
        raise UserError(f"{classifier.task.name}: is not a classifier of videos: its pipeline reads other files")

    def scored(videos: Iterable[Video]) -> Iterator[Sample | VideoError]:
        videos, again = tee(videos)
        described = map(as_sample, videos) if describe is None else describe(videos)
        for sample, classified in zip(described, classifier.iter(again, "keep"), strict=True):
            if isinstance(sample, VideoError):
                yield sample
            elif classified.error is not None:
                yield VideoError(classified.path, classified.error.removeprefix(f"{classified.path}: "))
            elif classified.scores is None:
                raise UserError(f"{classifier.task.name}: is not a classifier: its model returns no class scores")
            else:
                best = np.argsort(-classified.scores, kind="stable")[:top]
                scores = np.zeros_like(classified.scores)
                scores[best] = classified.scores[best]
                yield sample.replace(scores=scores, class_names=classified.class_names)

    return scored
