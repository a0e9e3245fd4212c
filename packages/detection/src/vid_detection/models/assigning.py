"""Which boxes a detector learns from: matching with true boxes, and a random choice.

Paper: Fast R-CNN, arXiv:1504.08083, section 2.3.

Shapes: N boxes, G true boxes, K classes. A box may do several things at once, so labels are rows of K numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import field, frozen

from vid_detection.overlaps import iou
from vidcore.errors import UserError
from vidcore.typing import Array
from vidcore.validators import at_least, in_range

__all__ = ["Assigned", "Chosen", "MaxIoUAssignerAVA", "RandomSampler", "box_targets"]


@frozen(eq=False)
class Assigned:
    """The true box of each box."""

    truth: Array
    """(N,) int64: number of the true box, from 1; 0: none, a negative; -1: ignored, neither one nor the other."""
    overlaps: Array
    """(N,) float32: overlap with the true box that it overlaps most; 0 if there are none."""
    labels: Array
    """(N, K) float32: labels of the true box; zeros for others."""


@frozen(kw_only=True)
class MaxIoUAssignerAVA:
    """Gives each box the true box that it overlaps most, if that is enough.

    The overlap is the intersection over union.
    """

    pos_iou_thr: float = field(default=0.9, validator=in_range(0, 1))
    """Least overlap of a positive."""
    neg_iou_thr: float | tuple[float, float] = 0.9
    """A negative overlaps all true boxes by less than this; of two numbers, by at least the first, too."""
    min_pos_iou: float = field(default=0.0, validator=in_range(0, 1))
    """The boxes that overlap a true box most are positives from this overlap on, even if below ``pos_iou_thr``."""
    gt_max_assign_all: bool = True
    """Whether all boxes with that greatest overlap are, or the first only."""
    match_low_quality: bool = True
    """Whether ``min_pos_iou`` counts at all."""

    def __attrs_post_init__(self) -> None:
        low, high = self._negatives()
        if not 0 <= low <= high <= 1:
            raise UserError(f"neg_iou_thr must be from 0 to 1, the first at most the second, got {self.neg_iou_thr}")

    def _negatives(self) -> tuple[float, float]:
        return self.neg_iou_thr if isinstance(self.neg_iou_thr, Sequence) else (0.0, self.neg_iou_thr)

    def assign(self, boxes: Array, true_boxes: Array, true_labels: Array) -> Assigned:
        """Match boxes (N, 4) with true boxes (G, 4), whose labels are (G, K)."""
        if not len(true_boxes) or not len(boxes):
            none = np.zeros(len(boxes), np.float32)
            return Assigned(none.astype(np.int64), none, np.zeros((len(boxes), true_labels.shape[1]), np.float32))
        table = iou(np.asarray(true_boxes, np.float32)[:, None], np.asarray(boxes, np.float32))
        best = table.max(0)
        truth = np.full(len(boxes), -1)
        low, high = self._negatives()
        truth[(best >= np.float32(low)) & (best < np.float32(high))] = 0
        positive = best >= np.float32(self.pos_iou_thr)
        truth[positive] = table.argmax(0)[positive] + 1
        if self.match_low_quality:
            for number, row in enumerate(table, 1):
                if row.max() >= np.float32(self.min_pos_iou):
                    truth[row == row.max() if self.gt_max_assign_all else row.argmax()] = number
        labels = np.asarray(true_labels, np.float32)[np.maximum(truth - 1, 0)]
        return Assigned(truth, best, np.where(truth[:, None] > 0, labels, np.float32(0)))


@frozen(eq=False)
class Chosen:
    """The boxes to learn from: positions in a list that begins with the true boxes, if these are proposals, too."""

    boxes: Array
    """(n, 4) float32: the positives, then the negatives."""
    labels: Array
    """(n, K) float32: of the positives; zeros for the negatives."""
    positives: Array
    """(p,) int64 positions."""
    negatives: Array
    """(n - p,) int64 positions."""
    truth: Array
    """(p,) int64: number of the true box of each positive, from 0."""


@frozen(kw_only=True)
class RandomSampler:
    """Chooses positives and negatives at random where there are too many; their order stays."""

    num: int = field(default=32, validator=at_least(1))
    """Boxes of a sample at most."""
    pos_fraction: float = field(default=1.0, validator=in_range(0, 1))
    """Largest share of positives in them."""
    neg_pos_ub: float = -1.0
    """Negatives for each positive at most, and for one if there are none; -1: no limit."""
    add_gt_as_proposals: bool = True
    """True boxes are proposals, too."""

    def sample(
        self,
        assigned: Assigned,
        boxes: Array,
        true_boxes: Array,
        true_labels: Array,
        rng: np.random.Generator,
    ) -> Chosen:
        """Choose among the boxes (N, 4) that were matched with true boxes (G, 4) and their labels (G, K)."""
        truth = assigned.truth
        if self.add_gt_as_proposals:
            boxes = np.concatenate((true_boxes, boxes))
            truth = np.concatenate((np.arange(1, len(true_boxes) + 1), truth))
        positives = _some(np.flatnonzero(truth > 0), int(self.num * self.pos_fraction), rng)
        room = self.num - len(positives)
        if self.neg_pos_ub >= 0:
            room = min(room, int(self.neg_pos_ub * max(len(positives), 1)))
        negatives = _some(np.flatnonzero(truth == 0), room, rng)
        owners = truth[positives] - 1
        labels, _ = box_targets([np.asarray(true_labels, np.float32)[owners]], [len(negatives)])
        rows = np.concatenate((positives, negatives))
        return Chosen(np.asarray(boxes, np.float32)[rows], labels, positives, negatives, owners)


def box_targets(labels: Sequence[Array], negatives: Sequence[int], pos_weight: float = 1.0) -> tuple[Array, Array]:
    """Return labels (n, K) and weights (n,) of the chosen boxes of several samples: positives, then negatives, of each.

    Args:
        labels: (p, K) float32 labels of the positives of each sample.
        negatives: number of negatives of each.
        pos_weight: weight of a positive; at most 0: 1, that of a negative.
    """
    rows = [np.pad(own, ((0, more), (0, 0))) for own, more in zip(labels, negatives, strict=True)]
    weight = pos_weight if pos_weight > 0 else 1.0
    weights = [
        np.repeat(np.array([weight, 1], np.float32), (len(own), more))
        for own, more in zip(labels, negatives, strict=True)
    ]
    return np.concatenate(rows), np.concatenate(weights)


def _some(rows: Array, most: int, rng: np.random.Generator) -> Array:
    return rows if len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
