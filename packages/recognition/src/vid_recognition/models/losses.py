"""Classification losses: ``loss(scores, labels) -> scalar``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["BCELossWithLogits", "CBFocalLoss", "ClassWeightedLoss", "CrossEntropyLoss", "NLLLoss"]


class ClassWeightedLoss(nn.Module):
    """Holds weights of classes on the device of the model; they are no part of its checkpoints."""

    class_weight: Tensor | None

    def __init__(self, loss_weight: float, class_weight: Sequence[float] | None) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer("class_weight", weight, persistent=False)


class CrossEntropyLoss(ClassWeightedLoss):
    """Softmax cross entropy.

    Args:
        loss_weight: factor of the result.
        class_weight: one factor per class; the mean is then a weighted one.
        ignore_index: label of samples that do not count.

    ``forward``: scores (N, classes); labels (N,) class numbers or (N, classes) soft labels -> scalar.
    """

    def __init__(
        self, loss_weight: float = 1.0, class_weight: Sequence[float] | None = None, ignore_index: int = -100
    ) -> None:
        super().__init__(loss_weight, class_weight)
        self.ignore_index = ignore_index

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        scores = scores.float()
        if labels.ndim == 1:
            loss = F.cross_entropy(scores, labels, self.class_weight, ignore_index=self.ignore_index)
        elif self.class_weight is None:
            loss = F.cross_entropy(scores, labels)
        else:  # divided by the weighted mass of the labels, as with class numbers
            mass = labels * self.class_weight
            loss = -(mass * scores.log_softmax(1)).sum() / mass.sum()
        return self.loss_weight * loss


class NLLLoss(nn.Module):
    """Negative log likelihood: scores are log probabilities (N, classes), labels (N,) class numbers -> scalar."""

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.loss_weight * F.nll_loss(scores.float(), labels)


class BCELossWithLogits(ClassWeightedLoss):
    """Binary cross entropy of every class on its own.

    Args:
        loss_weight: factor of the result.
        class_weight: one factor per class.

    ``forward``: scores and many-hot or soft labels, both (N, classes) -> scalar, the mean over samples and classes.
    """

    def __init__(self, loss_weight: float = 1.0, class_weight: Sequence[float] | None = None) -> None:
        super().__init__(loss_weight, class_weight)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        if labels.ndim == 1:
            raise UserError("BCELossWithLogits needs labels of every class: see multi_class of the data set")
        loss = F.binary_cross_entropy_with_logits(scores.float(), labels.float(), self.class_weight)
        return self.loss_weight * loss


class CBFocalLoss(ClassWeightedLoss):
    """Class-balanced focal loss (arXiv:1901.05555, eq. 7 and 10) for single labels under sigmoids.

    Args:
        samples_per_cls: number of training samples of every class.
        loss_weight: factor of the result.
        beta: the closer to 1, the more a rare class counts.
        gamma: exponent of the focal factor; 0 switches it off.

    ``forward``: scores (N, classes), labels (N,) class numbers -> scalar.
    """

    def __init__(
        self, samples_per_cls: Sequence[int], loss_weight: float = 1.0, beta: float = 0.9999, gamma: float = 2.0
    ) -> None:
        require(len(samples_per_cls) > 0, "samples_per_cls must have one number per class")
        require(min(samples_per_cls) > 0, f"samples_per_cls must be positive, got {tuple(samples_per_cls)}")
        effective = torch.tensor([1 - beta**n for n in samples_per_cls], dtype=torch.float64)
        weight = (1 - beta) / effective
        super().__init__(loss_weight, (weight / weight.sum() * len(weight)).tolist())
        self.gamma = gamma

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        assert self.class_weight is not None
        if labels.ndim > 1:
            raise UserError("CBFocalLoss needs one class number per sample, not labels of every class")
        scores = scores.float()
        truth = F.one_hot(labels, scores.shape[1]).to(scores.dtype)
        entropy = F.binary_cross_entropy_with_logits(scores, truth, reduction="none")
        # (1 - p_t) ** gamma with log(1 - p_t) from the log-sigmoid: no cancellation for large scores
        focal = torch.exp(self.gamma * F.logsigmoid(scores * (1 - 2 * truth)))
        weighted = self.class_weight[labels][:, None] * focal * entropy
        return self.loss_weight * weighted.sum() / truth.sum()
