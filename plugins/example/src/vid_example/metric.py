"""A metric: the lowest accuracy of any class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from vidcore.protocols import Metric
from vidcore.sample import Sample


class WorstClass(Metric):
    """The lowest accuracy of any class, as ``acc/worst_class``."""

    def __init__(self) -> None:
        self.reset()

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        for predicted, target in zip(predictions, targets, strict=True):
            assert predicted.scores is not None
            assert target.label is not None
            self.seen[target.index] = (target.label, int(predicted.scores.argmax()))

    def compute(self) -> dict[str, float]:
        hits: dict[int, list[bool]] = {}
        for label, predicted in self.seen.values():
            hits.setdefault(label, []).append(label == predicted)
        return {"acc/worst_class": min((sum(h) / len(h) for h in hits.values()), default=float("nan"))}

    def reset(self) -> None:
        self.seen: dict[int, tuple[int, int]] = {}
        """Sample index to true and predicted class; duplicates of a sample count once."""

    def merge(self, others: Iterable[Self]) -> None:
        for other in others:
            self.seen |= other.seen
