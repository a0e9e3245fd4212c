"""Classification losses: ``loss(scores, labels) -> scalar``.

Shapes: N rows, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["BCELossWithLogits", "CBFocalLoss", "ClassWeightedLoss", "CrossEntropyLoss", "NLLLoss"]


class ClassWeightedLoss(nn.Module):
    """Base of losses with class weights, which are on the device of the model, but not in its state dict."""

    class_weight: Tensor | None

    def __init__(self, loss_weight: float, class_weight: Sequence[float] | None) -> None:
        super().__init__()
        self.loss_weight = loss_weight
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer("class_weight", weight, persistent=False)


class CrossEntropyLoss(ClassWeightedLoss):
    """Softmax cross entropy.

    Args:
        loss_weight: factor of the loss.
        class_weight: one weight per class; the mean is then weighted.
        ignore_index: label of samples to ignore.

    ``forward``: scores (N, K); labels (N,) class numbers or (N, K) soft labels -> scalar.
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
        else:  # divided by the sum of the weights of the labels, as for class numbers
            mass = labels * self.class_weight
            loss = -(mass * scores.log_softmax(1)).sum() / mass.sum()
        return self.loss_weight * loss


class NLLLoss(nn.Module):
    """Negative log likelihood: scores (N, K) log probabilities, labels (N,) class numbers -> scalar.

    Args:
        loss_weight: factor on the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        return self.loss_weight * F.nll_loss(scores.float(), labels)


class BCELossWithLogits(ClassWeightedLoss):
    """Binary cross entropy of each class.

    Args:
        loss_weight: factor of the loss.
        class_weight: one weight per class.

    ``forward``: scores and multi-hot or soft labels, both (N, K) -> scalar, the mean over samples and classes.
    """

    def __init__(self, loss_weight: float = 1.0, class_weight: Sequence[float] | None = None) -> None:
        super().__init__(loss_weight, class_weight)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        if labels.ndim == 1:
            raise UserError("BCELossWithLogits needs multi-hot labels: see multi_class of the dataset")
        loss = F.binary_cross_entropy_with_logits(scores.float(), labels.float(), self.class_weight)
        return self.loss_weight * loss


class CBFocalLoss(ClassWeightedLoss):
    """Class-balanced focal loss (arXiv:1901.05555, eq. 7 and 10) for single labels under sigmoids.

    Args:
        samples_per_cls: number of training samples of each class.
        loss_weight: factor of the loss.
        beta: the closer to 1, the higher the weight of rare classes.
        gamma: exponent of the focal factor; 0 disables it.

    ``forward``: scores (N, K), labels (N,) class numbers -> scalar.
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
            raise UserError("CBFocalLoss needs one class number per sample, not multi-hot or soft labels")
        scores = scores.float()
        one_hot = F.one_hot(labels, scores.shape[1]).to(scores.dtype)
        entropy = F.binary_cross_entropy_with_logits(scores, one_hot, reduction="none")
        # (1 - p_t) ** gamma with log(1 - p_t) from the log-sigmoid: no cancellation for large scores
        focal = torch.exp(self.gamma * F.logsigmoid(scores * (1 - 2 * one_hot)))
        weighted = self.class_weight[labels][:, None] * focal * entropy
        return self.loss_weight * weighted.sum() / one_hot.sum()
