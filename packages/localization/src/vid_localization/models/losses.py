"""Losses of proposal networks on probabilities, with classes balanced by their frequency."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["BMNLoss", "BinaryLogisticRegressionLoss"]

RATIO_RANGE = (1.05, 21.0)
EPS = 1e-5
"""Added inside logarithms."""


def weighted_logistic_loss(probability: Tensor, positive: Tensor, negative: Tensor, count: Tensor) -> Tensor:
    """Two-class cross entropy with equal weight of both classes, however many entries they have (BSN, eq. 3-4).

    Args:
        probability: probability of the positive class.
        positive, negative: 1.0 for entries of that class, else 0.0.
        count: number of entries; its ratio to the number of positive ones is clamped to [1.05, 21].
    """
    ratio = (count / positive.sum().clamp(min=1)).clamp(*RATIO_RANGE)
    gain = 0.5 * ratio * positive * (probability + EPS).log()
    gain = gain + 0.5 * ratio / (ratio - 1) * negative * (1 - probability + EPS).log()
    return -gain.sum() / count


class BinaryLogisticRegressionLoss(nn.Module):
    """Balanced two-class cross entropy (BSN, arXiv:1806.02964, eq. 3-4).

    ``forward(probability, label, threshold)``: two tensors of the same shape -> scalar; labels above the threshold
    are positive.
    """

    def forward(self, probability: Tensor, label: Tensor, threshold: float = 0.5) -> Tensor:
        positive = (label > threshold).float()
        count = torch.ones_like(positive).sum()
        return weighted_logistic_loss(probability.float(), positive, 1 - positive, count)


class BMNLoss(nn.Module):
    """Loss of the boundary-matching network (arXiv:1907.09702, section 4.4).

    Args:
        weight_tem, weight_pem_reg, weight_pem_cls: factors of the three parts.
        weight_outside_bands: reproduce published training. Regression balances three bands of overlap by keeping a
            random fraction of the two lower ones. If a band has fewer cells than the high one, published training gave
            weight to every cell of the map, even to impossible proposals. By default only cells of the band count.
    """

    def __init__(
        self,
        weight_tem: float = 1.0,
        weight_pem_reg: float = 10.0,
        weight_pem_cls: float = 1.0,
        weight_outside_bands: bool = False,
    ) -> None:
        super().__init__()
        self.weight_tem = weight_tem
        self.weight_pem_reg = weight_pem_reg
        self.weight_pem_cls = weight_pem_cls
        self.weight_outside_bands = weight_outside_bands

    def forward(
        self, maps: Tensor, starts: Tensor, ends: Tensor, overlap: Tensor, start: Tensor, end: Tensor, valid: Tensor
    ) -> dict[str, Tensor]:
        """Return ``loss`` and its unweighted parts ``tem``, ``pem_reg``, ``pem_cls``.

        Args:
            maps: (B, 2, T, T) regressed and classified overlap of every proposal (duration, start).
            starts, ends: (B, T) probabilities of boundaries.
            overlap: (B, T, T) true overlaps.
            start, end: (B, T) labels of boundaries, see ``matching_labels``.
            valid: (T, T) 1.0 for proposals that end within the video.
        """
        tem = self.boundary_loss(starts, ends, start, end)
        if bool((overlap * valid > 0.7).any()):
            regression = self.regression_loss(maps[:, 0], overlap, valid)
        else:  # there is no cell to balance the others with
            regression = 0.0 * maps[:, 0].float().sum()
        classification = self.classification_loss(maps[:, 1], overlap, valid)
        total = self.weight_tem * tem + self.weight_pem_reg * regression + self.weight_pem_cls * classification
        return {"loss": total, "tem": tem, "pem_reg": regression, "pem_cls": classification}

    def boundary_loss(self, starts: Tensor, ends: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """Cross entropies of starts and ends; shapes as in ``forward``."""
        loss = BinaryLogisticRegressionLoss()
        total: Tensor = loss(starts, start) + loss(ends, end)
        return total

    def regression_loss(
        self, predicted: Tensor, overlap: Tensor, valid: Tensor, high: float = 0.7, low: float = 0.3
    ) -> Tensor:
        """Half the mean squared error over cells above ``high`` and equally many of ``(low, high]`` and ``(0, low]``.

        It is nan if no cell is above ``high``.
        """
        predicted, truth = predicted.float(), overlap * valid
        weights = best = (truth > high).float()
        for band in (((truth <= high) & (truth > low)).float(), ((truth <= low) & (truth > 0)).float() * valid):
            share = best.sum() / band.sum()
            kept = (band * torch.rand_like(band) > 1 - share).float()
            weights = weights + (kept if self.weight_outside_bands else kept * band)
        return 0.5 * ((predicted - truth) * weights).square().sum() / weights.sum()

    def classification_loss(self, predicted: Tensor, overlap: Tensor, valid: Tensor, threshold: float = 0.9) -> Tensor:
        """Balanced cross entropy over all proposals; those above the threshold are positive."""
        positive = (overlap * valid > threshold).float()
        negative = (1 - positive) * valid
        # the number of entries, like the ratio, counts at least one positive
        return weighted_logistic_loss(
            predicted.float(), positive, negative, positive.sum().clamp(min=1) + negative.sum()
        )
