"""Loss of structured segment networks (Zhao et al. 2017, arXiv:1704.06228, section 4)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vid_localization.transforms.structured import FOREGROUND, INCOMPLETE

__all__ = ["SSNLoss", "hard_hinge_loss"]


def hard_hinge_loss(scores: Tensor, labels: Tensor, sign: int, keep_ratio: float, group_size: int) -> Tensor:
    """Hinge loss of the score of the true class, summed over the hardest proposals of each group.

    Args:
        scores: (n, K) scores of the classes 1 to K.
        labels: (n,) int64, 1 to K.
        sign: 1 if scores should be above 1, -1 if they should be below -1.
        keep_ratio: fraction of a group that counts, rounded down.
        group_size: number of consecutive proposals in a group.

    Raises:
        ValueError: scores and labels differ in number, or do not divide into groups.
    """
    if len(scores) != len(labels):
        raise ValueError(f"{len(scores)} proposals have scores, but {len(labels)} have labels")
    if len(scores) % group_size:
        raise ValueError(f"{len(scores)} proposals do not divide into groups of {group_size}")
    true = scores.float().gather(1, labels[:, None] - 1)
    losses = (1 - sign * true).clamp(min=0).view(-1, group_size)
    return losses.topk(int(group_size * keep_ratio), 1).values.sum()


class SSNLoss(nn.Module):
    """Losses of activity, completeness and class-wise regression of sampled proposals.

    Args:
        completeness_weight, regression_weight: factors of these parts; that of activity is 1.
        foreground, incomplete: numbers of proposals of these kinds in every video.
        keep_ratio: fraction of the incomplete proposals of a video, the hardest, that completeness learns from.
    """

    def __init__(
        self,
        completeness_weight: float = 0.1,
        regression_weight: float = 0.1,
        foreground: int = 1,
        incomplete: int = 6,
        keep_ratio: float = 0.17,
    ) -> None:
        super().__init__()
        self.completeness_weight = completeness_weight
        self.regression_weight = regression_weight
        self.foreground = foreground
        self.incomplete = incomplete
        self.keep_ratio = keep_ratio

    def forward(
        self,
        activity: Tensor,
        completeness: Tensor,
        types: Tensor,
        labels: Tensor,
        targets: Tensor,
        regression: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Return the weighted ``loss_activity``, ``loss_completeness`` and, with regression, ``loss_reg``.

        Args:
            activity: (n, K + 1) scores of background and K classes.
            completeness: (n, K).
            types: (n,) ``FOREGROUND``, ``INCOMPLETE`` or ``BACKGROUND``, video after video.
            labels: (n,) classes from 1; 0 for background.
            targets: (n, 2) normalised shift and growth (``regression_targets``) of foreground proposals.
            regression: (n, K, 2) predictions of these for every class.
        """
        losses = {
            "loss_activity": self.activity_loss(activity, types, labels),
            "loss_completeness": self.completeness_weight * self.completeness_loss(completeness, types, labels),
        }
        if regression is not None:
            losses["loss_reg"] = self.regression_weight * self.regression_loss(regression, types, labels, targets)
        return losses

    def activity_loss(self, activity: Tensor, types: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of foreground and background, without incomplete proposals; arguments as in ``forward``."""
        kept = types != INCOMPLETE
        return F.cross_entropy(activity[kept].float(), labels[kept])

    def completeness_loss(self, completeness: Tensor, types: Tensor, labels: Tensor) -> Tensor:
        """Mean hinge loss of all foreground and the hardest incomplete proposals of every video."""
        foreground, incomplete = types == FOREGROUND, types == INCOMPLETE
        positive = hard_hinge_loss(completeness[foreground], labels[foreground], 1, 1.0, self.foreground)
        negative = hard_hinge_loss(completeness[incomplete], labels[incomplete], -1, self.keep_ratio, self.incomplete)
        return (positive + negative) / (foreground.sum() + (incomplete.sum() * self.keep_ratio).long())

    def regression_loss(self, regression: Tensor, types: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """Twice the mean smooth L1 loss of foreground proposals, each with the prediction for its class."""
        foreground = (types == FOREGROUND).nonzero()[:, 0]
        predicted = regression[foreground, labels[foreground] - 1].float()
        return 2 * F.smooth_l1_loss(predicted, targets[foreground].to(torch.float32))
