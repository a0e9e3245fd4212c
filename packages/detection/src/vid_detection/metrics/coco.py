"""Average precision of boxes as COCO measures it (Lin et al. 2014, arXiv:1405.0312), by ``pycocotools``."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vid_detection.metrics.collect import CollectedBoxes
from vidcore.errors import DataError, missing_library

__all__ = ["COCOMetric"]

MOST = 100
"""Detections of a class in a key frame that count, the best."""


class COCOMetric(CollectedBoxes):
    """COCO's average precision of boxes in key frames.

    ``AP`` is the mean over overlaps of 0.5 to 0.95, ``AP50`` and ``AP75`` are at one, ``AR100`` is the recall. A key
    frame is an image, and each class of a box an object. The best 100 detections of a class in a key frame count.
    Needs ``pip install 'vid-detection[coco]'``.

    Args:
        score_thr: least score of a detection.
    """

    def __init__(self, score_thr: float = 0.01) -> None:
        super().__init__()
        try:
            import pycocotools.cocoeval  # noqa: F401 - to fail before an evaluation
        except ModuleNotFoundError as error:
            raise missing_library("COCOMetric", error) or error from error
        self.score_thr = score_thr
        self._table: list[dict[str, Any]] = []

    def compute(self) -> dict[str, float]:
        """Return the scores by key."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        found, true = self.found(), self.true()
        if not len(true.boxes):
            raise DataError("COCOMetric: no key frame has a true box")
        classes = found.scores.shape[1]
        names = self._names() or tuple(f"class {k + 1}" for k in range(classes))
        images = [{"id": i + 1} for i in range(len(self.pairs()))]
        row, label = np.nonzero(found.scores > self.score_thr)
        truth = COCO()
        truth.dataset = {
            "images": images,
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(names)],
            "annotations": _objects(true.boxes, true.frames, true.labels),
        }
        listed = COCO()
        scores = found.scores[row, label].astype(np.float64).tolist()
        objects = _objects(found.boxes[row], found.frames[row], label)
        listed.dataset = {
            **truth.dataset,
            "annotations": [o | {"score": score} for o, score in zip(objects, scores, strict=True)],
        }
        with contextlib.redirect_stdout(io.StringIO()):
            truth.createIndex()
            listed.createIndex()
            evaluation = COCOeval(truth, listed, "bbox")
            evaluation.params.maxDets = [1, 10, MOST]
            evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]  # fractions have no sizes
            evaluation.evaluate()
            evaluation.accumulate()
        precision, recall = evaluation.eval["precision"][..., 0, -1], evaluation.eval["recall"][..., 0, -1]
        thresholds = evaluation.params.iouThrs
        at = {t: int(np.argmin(np.abs(thresholds - t))) for t in (0.5, 0.75)}
        counts = np.bincount(true.labels, minlength=classes)
        self._table = [
            {
                "class": names[k],
                "AP": round(_mean(precision[:, :, k]), 4),
                "AP50": round(_mean(precision[at[0.5], :, k]), 4),
                "boxes": int(counts[k]),
            }
            for k in np.flatnonzero(counts).tolist()
        ]
        self._notes = [f"AP is COCO's, the mean over {len(self._table)} of {classes} classes and 10 overlaps"]
        return {
            "AP": _mean(precision),
            "AP50": _mean(precision[at[0.5]]),
            "AP75": _mean(precision[at[0.75]]),
            f"AR{MOST}": _mean(recall),
        }

    def table(self) -> Sequence[Mapping[str, Any]]:
        """Return average precision and number of boxes of each class."""
        return self._table


def _objects(boxes: Any, frames: Any, labels: Any) -> list[dict[str, Any]]:
    sides = boxes[:, 2:] - boxes[:, :2]
    rows = np.concatenate((boxes[:, :2], sides), 1).tolist()
    areas = sides.prod(1).tolist()
    return [
        {"id": i + 1, "image_id": frame + 1, "category_id": label + 1, "bbox": row, "area": area, "iscrowd": 0}
        for i, (row, area, frame, label) in enumerate(zip(rows, areas, frames.tolist(), labels.tolist(), strict=True))
    ]


def _mean(values: Any) -> float:
    """Mean without the -1 that stand for classes without truth."""
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")
