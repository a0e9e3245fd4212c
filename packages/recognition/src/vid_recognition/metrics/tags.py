"""Average precision of the tags of each category: HVU (Diba et al. 2020, arXiv:1904.11451)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import numpy as np

from vid_recognition.metrics.functional import mean_average_precision
from vid_recognition.records import TagCategories
from vidcore.errors import DataError
from vidcore.metrics import Columns
from vidcore.predictions import require_finite
from vidcore.sample import Sample

__all__ = ["HVUMetric"]


class HVUMetric(Columns):
    """Mean average precision of each category, over the samples in which it is annotated.

    Keys are ``hvu/<category>_mAP``, and ``hvu/mAP``, the mean over categories.

    Args:
        prefix: first part of the keys.
    """

    def __init__(self, prefix: str = "hvu") -> None:
        super().__init__()
        self.prefix = prefix
        self._sizes: dict[str, int] = {}

    def update(self, predictions: Sequence[Sample], targets: Sequence[Sample]) -> None:
        """Add predictions with ``scores``, and targets of ``HVUDataset``."""
        if not targets:
            return
        require_finite(predictions, targets, type(self).__name__)
        scores = [p.scores for p in predictions if p.scores is not None]
        labels = [t.labels for t in targets if t.labels is not None]
        tags = [found for t in targets if isinstance(found := t.extra.get("tags"), TagCategories)]
        if not len(scores) == len(labels) == len(tags) == len(targets):
            raise DataError("HVUMetric needs scores of each tag, and samples with tags by category: see HVUDataset")
        if scores[0].shape != labels[0].shape:
            raise DataError(f"labels have {len(labels[0])} tags, but scores have {len(scores[0])}")
        self._sizes = dict(zip(tags[0].names, tags[0].sizes.tolist(), strict=True))
        annotated = np.stack([found.annotated for found in tags])
        self.add(targets, scores=np.stack(scores), labels=np.stack(labels), annotated=annotated)

    def merge(self, others: Iterable[Self]) -> None:
        """Add what other processes collected."""
        others = list(others)
        super().merge(others)
        self._sizes = next((m._sizes for m in (self, *others) if m._sizes), {})

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        columns = self.columns()
        out, end = {}, 0
        missing = []
        for number, (name, size) in enumerate(self._sizes.items()):
            rows, tags = columns["annotated"][:, number], slice(end, end := end + size)
            value = mean_average_precision(columns["scores"][rows, tags], columns["labels"][rows, tags])
            if np.isnan(value):
                missing.append(name)
            else:
                out[f"{self.prefix}/{name}_mAP"] = value
        self._notes = [f"{self.prefix}/mAP: no sample has a tag of {', '.join(missing)}"] if missing else []
        return out | {f"{self.prefix}/mAP": float(np.mean(list(out.values()))) if out else float("nan")}
