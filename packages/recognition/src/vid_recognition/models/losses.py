"""Classification losses: ``loss(scores, labels) -> scalar``; those that need more targets are a ``TargetsLoss``.

Shapes: N rows, K classes, G categories of classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.records import HVU_CATEGORIES, HVU_CATEGORY_NUMS
from vidcore.errors import UserError
from vidcore.nn import require

__all__ = [
    "BCELossWithLogits",
    "CBFocalLoss",
    "ClassLoss",
    "ClassWeightedLoss",
    "CrossEntropyLoss",
    "HVULoss",
    "NLLLoss",
    "TargetsLoss",
]


class ClassLoss(nn.Module):
    """Base of losses of class scores."""

    labels: Literal["single", "multi"] = "single"
    """Whether a sample has one class or any number."""

    def weight_classes(self, counts: Tensor, samples: int) -> str:
        """Set weights from the size of each class, and return a sentence about them; see ``Model.weight_classes``."""
        raise UserError(f"{type(self).__name__} takes no weights of classes from the data")


class ClassWeightedLoss(ClassLoss):
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

    def weight_classes(self, counts: Tensor, samples: int) -> str:
        """Weight each class by the inverse of its size, so that all classes together count equally."""
        if self.class_weight is not None:
            raise UserError("cls_head.loss_cls.class_weight sets the weights of classes, too: remove one of them")
        weight = counts.sum() / ((counts > 0).sum() * counts.clamp(min=1))
        self.class_weight = weight.float()
        return f"the loss of a class counts {_span(weight[counts > 0])} times, in inverse proportion to its samples"

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


class NLLLoss(ClassLoss):
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
        pos_weight: one weight per class of the labels that are there, beside those that are not.

    ``forward``: scores and multi-hot or soft labels, both (N, K) -> scalar, the mean over samples and classes.
    """

    labels = "multi"
    pos_weight: Tensor | None

    def __init__(
        self,
        loss_weight: float = 1.0,
        class_weight: Sequence[float] | None = None,
        pos_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__(loss_weight, class_weight)
        weight = None if pos_weight is None else torch.tensor(pos_weight, dtype=torch.float32)
        self.register_buffer("pos_weight", weight, persistent=False)

    def weight_classes(self, counts: Tensor, samples: int) -> str:
        """Weight the labels that are there by the samples without them, divided by those with them."""
        for name, given in (("class_weight", self.class_weight), ("pos_weight", self.pos_weight)):
            if given is not None:
                raise UserError(f"cls_head.loss_cls.{name} sets the weights of classes, too: remove one of them")
        weight = (samples - counts).clamp(min=1) / counts.clamp(min=1)
        self.pos_weight = torch.where(counts > 0, weight, 1).float()
        return f"a label counts {_span(weight[counts > 0])} times: samples without it, divided by those with it"

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        if labels.ndim == 1:
            raise UserError("BCELossWithLogits needs multi-hot labels: see multi_class of the dataset")
        loss = F.binary_cross_entropy_with_logits(
            scores.float(), labels.float(), self.class_weight, pos_weight=self.pos_weight
        )
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

    def weight_classes(self, counts: Tensor, samples: int) -> str:
        raise UserError("CBFocalLoss has weights of its own (samples_per_cls)")

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


def _span(weights: Tensor) -> str:
    return f"{weights.min():.3g} to {weights.max():.3g}"


class TargetsLoss(ClassLoss):
    """Base of losses that need targets beside the labels, and may report several values."""

    def forward(self, scores: Tensor, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return scalars by name, of which those with ``loss`` in the name are minimised.

        Args:
            scores: (N, K).
            labels: (N,) class numbers, or (N, K) soft or multi-hot.
            targets: (N, ...) by name: those of ``Batch.targets``.
        """
        raise NotImplementedError


class HVULoss(TargetsLoss):
    """Binary cross entropy of the tags of several categories (HVU, arXiv:1904.11451).

    Args:
        categories: names of the categories, in the order of the classes.
        category_nums: number of tags in each.
        category_loss_weights: weight of each with ``individual``; divided by the sum over the categories present.
        loss_type: ``all`` is the loss over all tags, ``individual`` the weighted mean of the losses of the categories.
        with_mask: ignore the categories that are not annotated in a sample, which needs ``LoadHVULabel`` in the
            pipeline; otherwise their tags count as absent.
        reduction: over the tags of a sample: ``mean`` or ``sum``.
        loss_weight: factor of the loss.

    ``forward``: scores (N, K); labels (N, K) multi-hot; targets ``mask`` (N, K) and ``category_mask`` (N, G) ->
    ``loss_cls``. With ``individual`` also ``<category>_LOSS`` and ``<category>_LOSS_weight``, which are only logged.
    """

    labels = "multi"
    category_weight: Tensor

    def __init__(
        self,
        categories: Sequence[str] = HVU_CATEGORIES,
        category_nums: Sequence[int] = HVU_CATEGORY_NUMS,
        category_loss_weights: Sequence[float] | None = None,
        loss_type: Literal["all", "individual"] = "all",
        with_mask: bool = False,
        reduction: Literal["mean", "sum"] = "mean",
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__()
        weights = [1.0] * len(categories) if category_loss_weights is None else list(category_loss_weights)
        for name, given in (("category_nums", category_nums), ("category_loss_weights", weights)):
            require(len(given) == len(categories), f"{name} has {len(given)} numbers for {len(categories)} categories")
        require(min(weights) > 0, f"category_loss_weights must be positive, got {weights}")
        require(loss_type in ("all", "individual"), f"loss_type must be all or individual, got {loss_type!r}")
        require(reduction in ("mean", "sum"), f"reduction must be mean or sum, got {reduction!r}")
        self.categories, self.category_nums = tuple(categories), tuple(category_nums)
        self.loss_type, self.with_mask, self.reduction = loss_type, with_mask, reduction
        self.loss_weight = loss_weight
        self.register_buffer("category_weight", torch.tensor(weights), persistent=False)

    def forward(self, scores: Tensor, labels: Tensor, targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
        tags = sum(self.category_nums)
        if scores.shape[1] != tags or labels.shape != scores.shape:
            raise UserError(
                f"HVULoss is for multi-hot labels and scores of {tags} tags, got labels of shape {tuple(labels.shape)} "
                f"and scores of shape {tuple(scores.shape)}: see category_nums and cls_head.num_classes"
            )
        entropy = F.binary_cross_entropy_with_logits(scores.float(), labels.float(), reduction="none")
        if self.loss_type == "all":
            mask = self._mask(targets, "mask", entropy)
            rows = (mask * entropy).sum(1)
            if self.reduction == "mean":
                rows = rows / mask.sum(1).clamp(min=1)
            return {"loss_cls": self.loss_weight * rows.mean()}
        parts = entropy.split(self.category_nums, 1)
        by_category = torch.stack([part.mean(1) if self.reduction == "mean" else part.sum(1) for part in parts], 1)
        mask = self._mask(targets, "category_mask", by_category)
        annotated = mask.sum(0)
        losses = (mask * by_category).sum(0) / annotated.clamp(min=1)
        weights = self.category_weight * (annotated > 0)
        weights = weights / weights.sum().clamp(min=torch.finfo().tiny)
        out = {"loss_cls": self.loss_weight * (weights * losses).sum()}
        for name, loss, weight in zip(self.categories, losses, weights, strict=True):
            out |= {f"{name}_LOSS": loss, f"{name}_LOSS_weight": weight}
        return out

    def _mask(self, targets: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
        if not self.with_mask:
            return torch.ones_like(like)
        if name not in targets:
            raise UserError(f"HVULoss(with_mask = true) needs the target {name!r}: end the pipeline with LoadHVULabel")
        return targets[name].to(like)
