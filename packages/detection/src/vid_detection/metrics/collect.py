"""Predicted and true boxes of all key frames, over batches and processes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from vid_detection.ava import Key, split_key
from vid_detection.classes import class_index
from vid_detection.records import TrueBoxes
from vidcore.errors import DataError, some
from vidcore.metrics import SamplePairs
from vidcore.records import Boxes
from vidcore.sample import Sample
from vidcore.typing import Array

__all__ = ["CollectedBoxes", "FlatBoxes", "FlatTruth", "place_of_classes"]


@frozen(eq=False)
class FlatBoxes:
    """Predicted boxes of many key frames, one frame after the other."""

    boxes: Array
    """(n, 4) float64 fractions of the frame."""
    frames: Array
    """(n,) int64 index of the key frame of each."""
    scores: Array
    """(n, classes) float32, -inf where the box is not a detection of the class; or (n,) with ``labels``."""
    labels: Array | None = None
    """(n,) int64 class of detections that have one each."""


@frozen(eq=False)
class FlatTruth:
    """True boxes of many key frames: a box with several classes has a row for each."""

    boxes: Array
    """(n, 4) float64 fractions of the frame."""
    frames: Array
    """(n,) int64 index of the key frame of each."""
    labels: Array
    """(n,) int64 class of each."""


class CollectedBoxes(SamplePairs):
    """Base of metrics that need the boxes of all key frames at once.

    Predictions are ``Boxes`` in fractions of the frame with a score for each class; truth is ``extra["truth"]``.
    """

    def check(self, predicted: Sample, target: Sample) -> None:
        """Raise ``DataError`` unless both have boxes, with classes that are the same."""
        who, where = type(self).__name__, target.key or target.path or f"sample {target.index}"
        found = predicted.boxes
        if not isinstance(target.extra.get("truth"), TrueBoxes):
            raise DataError(f"{who} needs annotated boxes, which the datasets of vid-detection have; {where} has none")
        if found is None or found.scores is None or found.scores.ndim != 2:
            raise DataError(f"{who} needs predicted boxes with a score for each class; {where} has none")
        if not found.relative:
            raise DataError(f"{who} needs predicted boxes as fractions of the frame; those of {where} are pixels")
        names = predicted.class_names or target.class_names
        if names is not None and found.scores.shape[1] != len(names):
            raise DataError(
                f"{who}: {where} has {found.scores.shape[1]} scores for each box, but there are {len(names)} classes: "
                "predictions have no background class"
            )
        if names and target.class_names and not set(class_index(names)) & set(class_index(target.class_names)):
            raise DataError(
                f"{who}: no class of the predictions ({some(names, 3)}) is a class of the annotations "
                f"({some(target.class_names, 3)}), so the score could only be 0"
            )

    def slim(self, sample: Sample) -> Sample:
        """Return the sample with only what metrics and result files need."""
        predicted = sample.boxes is not None and sample.boxes.scores is not None
        truth = sample.extra.get("truth")
        return Sample(
            index=sample.index,
            key=sample.key,
            boxes=sample.boxes if predicted else None,
            class_names=sample.class_names,
            extra={} if predicted or truth is None else {"truth": truth},
            meta={} if predicted or "size" not in sample.meta else {"size": sample.meta["size"]},
        )

    def keys(self) -> list[Key]:
        """Return video and second (or number of the frame) of every sample."""
        return [split_key(target.key or f"sample {target.index},0") for _, target in self.pairs()]

    def found(self) -> FlatBoxes:
        """Return the predicted boxes; frames are numbers of samples."""
        listed = [predicted.boxes for predicted, _ in self.pairs()]
        boxes = [b for b in listed if isinstance(b, Boxes) and b.scores is not None]
        names = self._names()
        joined = np.concatenate([np.asarray(b.scores, np.float32) for b in boxes])
        predicted_names = next((p.class_names for p, _ in self.pairs() if p.class_names), names)
        if names and predicted_names != names:  # the same classes in another order, or only some of them
            joined = place_of_classes(joined, predicted_names or names, names)
        return FlatBoxes(
            np.concatenate([np.asarray(b.xyxy, np.float64) for b in boxes]),
            np.repeat(np.arange(len(boxes)), [len(b) for b in boxes]),
            joined,
        )

    def true(self) -> FlatTruth:
        """Return the true boxes; frames are numbers of samples."""
        truths = [t for t in (target.extra["truth"] for _, target in self.pairs()) if isinstance(t, TrueBoxes)]
        boxes = np.concatenate([t.xyxy for t in truths])
        frames = np.repeat(np.arange(len(truths)), [len(t) for t in truths])
        row, label = np.nonzero(np.concatenate([np.asarray(t.labels) for t in truths]))
        return FlatTruth(boxes[row], frames[row], label)

    def _names(self) -> tuple[str, ...] | None:
        return next((t.class_names for _, t in self.pairs() if t.class_names), self.class_names)


def place_of_classes(scores: Array, names: Sequence[str], wanted: Sequence[str]) -> Array:
    """Return the columns of the wanted classes, by name; -inf for classes that are not scored."""
    place = class_index(names)
    out = np.full((len(scores), len(wanted)), -np.inf, np.float32)
    for column, name in enumerate(wanted):
        source = place.get(name.replace("_", " "))
        if source is not None:
            out[:, column] = scores[:, source]
    return out
