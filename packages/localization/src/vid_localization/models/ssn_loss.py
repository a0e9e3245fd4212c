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
        scores: (n, K) of the classes 1 to K.
        labels: (n,) int64, 1 to K.
        sign: 1 where the score should be above 1, -1 where it should be below -1.
        keep_ratio: share of a group that counts, rounded down.
        group_size: neighbouring proposals in a group.

    Raises:
        ValueError: numbers of scores and labels differ, or do not make whole groups.
    """
    if len(scores) != len(labels):
        raise ValueError(f"{len(scores)} proposals have scores, but {len(labels)} have labels")
    if len(scores) % group_size:
        raise ValueError(f"{len(scores)} proposals do not divide into groups of {group_size}")
    own = scores.float().gather(1, labels[:, None] - 1)
    losses = (1 - sign * own).clamp(min=0).view(-1, group_size)
    return losses.topk(int(group_size * keep_ratio), 1).values.sum()


class SSNLoss(nn.Module):
    """Activity, completeness and class-wise regression of sampled proposals.

    Args:
        completeness_weight, regression_weight: factors of these parts; that of activity is 1.
        foreground, incomplete: proposals of these kinds that every video has.
        keep_ratio: share of the incomplete ones of a video, the hardest, that completeness learns from.
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
            labels: (n,) classes from 1; 0 of background.
            targets: (n, 2) shift of the centre and growth of the length of foreground ones, normalised.
            regression: (n, K, 2) the same as predicted for every class.
        """
        losses = {
            "loss_activity": self.activity_loss(activity, types, labels),
            "loss_completeness": self.completeness_weight * self.completeness_loss(completeness, types, labels),
        }
        if regression is not None:
            losses["loss_reg"] = self.regression_weight * self.regression_loss(regression, types, labels, targets)
        return losses

    def activity_loss(self, activity: Tensor, types: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of foreground and background; incomplete ones are neither. Arguments as of ``forward``."""
        chosen = types != INCOMPLETE
        return F.cross_entropy(activity[chosen].float(), labels[chosen])

    def completeness_loss(self, completeness: Tensor, types: Tensor, labels: Tensor) -> Tensor:
        """Mean hinge loss of all foreground and the hardest incomplete proposals of every video."""
        complete, cut = types == FOREGROUND, types == INCOMPLETE
        positive = hard_hinge_loss(completeness[complete], labels[complete], 1, 1.0, self.foreground)
        negative = hard_hinge_loss(completeness[cut], labels[cut], -1, self.keep_ratio, self.incomplete)
        return (positive + negative) / (complete.sum() + (cut.sum() * self.keep_ratio).long())

    def regression_loss(self, regression: Tensor, types: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """Twice the mean smooth L1 distance of foreground proposals, each by the prediction for its class."""
        chosen = (types == FOREGROUND).nonzero()[:, 0]
        predicted = regression[chosen, labels[chosen] - 1].float()
        return 2 * F.smooth_l1_loss(predicted, targets[chosen].to(torch.float32))
