"""The worst mistakes of a detector, by type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
from attrs import frozen

from vid_detection.ava import Key
from vid_detection.metrics.collect import FlatBoxes, FlatTruth
from vid_detection.metrics.functional import Ranked
from vid_detection.overlaps import iou

__all__ = ["MISTAKE_COLUMNS", "Mistake", "worst_mistakes"]

Kind = Literal["duplicate", "wrong class", "poor box", "nobody there", "missed"]
MISTAKE_COLUMNS = ("video", "time", "mistake", "class", "score", "overlap", "true", "x1", "y1", "x2", "y2")
LOW = 0.1
"""Boxes that overlap less have nothing to do with each other."""


@frozen(eq=False)
class Mistake:
    """A wrong detection, or a true box that was missed."""

    kind: Kind
    """``duplicate``: another detection has matched the person. ``wrong class``: the person does something else.
    ``poor box``: the box overlaps a person, but not enough. ``nobody there``: it overlaps no true box.
    ``missed``: no detection matches the true box."""
    frame: int
    label: int
    score: float | None
    """Of the detection; None for a true box that was missed."""
    overlap: float
    """With the best true box."""
    true: tuple[int, ...]
    """Classes of that box."""
    box: tuple[float, ...]

    def row(self, keys: Sequence[Key], names: Sequence[str]) -> list[object]:
        """Return the cells of a table with ``MISTAKE_COLUMNS``."""
        video, time = keys[self.frame]
        true = "; ".join(names[k] for k in self.true)
        score = None if self.score is None else round(self.score, 4)
        corners = [round(v, 4) for v in self.box]
        return [video, f"{time:g}", self.kind, names[self.label], score, round(self.overlap, 3), true, *corners]


def worst_mistakes(
    ranked: Iterable[Ranked], found: FlatBoxes, true: FlatTruth, threshold: float, limit: int = 200
) -> list[Mistake]:
    """Return wrong detections with the highest scores, then true boxes that were missed.

    Args:
        ranked: of each class.
        found, true: the boxes that the ranks refer to.
        threshold: least overlap of a correct detection.
        limit: number of mistakes of either kind.
    """
    wrong: list[tuple[float, int, int]] = []
    missed: list[tuple[int, int]] = []
    for label, of_class in enumerate(ranked):
        rows = of_class.rows[~of_class.correct][:limit]
        values = found.scores[rows, label] if found.labels is None else found.scores[rows]
        wrong += zip(values.tolist(), [label] * len(rows), rows.tolist(), strict=True)
        missed += [(label, row) for row in of_class.missed[:limit].tolist()]
    wrong.sort(key=lambda item: -item[0])
    order = np.argsort(true.frames, kind="stable")
    ends = true.frames[order]
    out = []
    for score, label, row in wrong[:limit]:
        frame = int(found.frames[row])
        near = order[np.searchsorted(ends, frame) : np.searchsorted(ends, frame, "right")]
        overlaps = iou(found.boxes[row], true.boxes[near])
        out.append(_judged(score, label, row, frame, overlaps, true.labels[near].tolist(), found, threshold))
    for label, row in missed[:limit]:
        box = tuple(true.boxes[row].tolist())
        out.append(Mistake("missed", int(true.frames[row]), label, None, 0.0, (label,), box))
    return out


def _judged(
    score: float,
    label: int,
    row: int,
    frame: int,
    overlaps: np.ndarray,
    labels: Sequence[int],
    found: FlatBoxes,
    threshold: float,
) -> Mistake:
    best = float(overlaps.max(initial=0))
    same = float(max((o for o, k in zip(overlaps.tolist(), labels, strict=True) if k == label), default=0.0))
    kind: Kind
    if same >= threshold:
        kind = "duplicate"
    elif best >= threshold:
        kind = "wrong class"
    elif best >= LOW:
        kind = "poor box"
    else:
        kind = "nobody there"
    shown = same if kind == "duplicate" else best
    true = tuple(sorted({k for o, k in zip(overlaps.tolist(), labels, strict=True) if o >= max(best - 1e-9, LOW)}))
    return Mistake(kind, frame, label, score, shown, true, tuple(found.boxes[row].tolist()))
