"""Classifier of the actions of boxes, as used with AVA (arXiv:1705.08421): several actions per person, or one.

Shapes: R boxes, C channels, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["BBoxHeadAVA", "recall_precision"]

Pool = Literal["avg", "max"]


class BBoxHeadAVA(nn.Module):
    """Pools the features of each box over time and space, then classifies them.

    Args:
        in_channels: C.
        num_classes: K, without the background.
        background_class: there is one more output before the others, as published weights have: the background, which
            is neither learnt nor predicted.
        multilabel: a box may have several classes (sigmoid); otherwise one (softmax).
        temporal_pool_type, spatial_pool_type: the mean or the maximum.
        focal_gamma: exponent of the focal loss (arXiv:1708.02002, eq. 4); 0: all boxes and classes count the same.
        focal_alpha: factor of the loss.
        dropout_ratio: probability of dropping a feature.
        dropout_before_pool: drop features before they are pooled.
        topk: report recall and precision of the k best classes, for these k.
        mlp_head: two layers instead of one.
        class_weight: weight of each class in the loss: of its score if boxes may have several, else of its boxes.

    ``forward``: (R, C, T, H, W) -> (R, K) scores before the sigmoid or softmax, or (R, 1 + K).
    """

    class_weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self,
        in_channels: int = 2048,
        num_classes: int = 80,
        background_class: bool = True,
        multilabel: bool = True,
        temporal_pool_type: Pool = "avg",
        spatial_pool_type: Pool = "max",
        focal_gamma: float = 0.0,
        focal_alpha: float = 1.0,
        dropout_ratio: float = 0.0,
        dropout_before_pool: bool = True,
        topk: Sequence[int] = (3, 5),
        mlp_head: bool = False,
        class_weight: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        for name, given in (("temporal_pool_type", temporal_pool_type), ("spatial_pool_type", spatial_pool_type)):
            require(given in ("avg", "max"), f"{name} must be avg or max, got {given!r}")
        require(num_classes > 0, f"num_classes must be positive, got {num_classes}")
        require(all(k > 0 for k in topk), f"topk must be positive, got {tuple(topk)}")
        self.in_channels, self.num_classes = in_channels, num_classes
        self.background_class, self.multilabel = background_class, multilabel
        self.temporal_pool_type, self.spatial_pool_type = temporal_pool_type, spatial_pool_type
        self.focal_gamma, self.focal_alpha = focal_gamma, focal_alpha
        self.topk = tuple(k for k in topk if k <= num_classes)
        require(
            class_weight is None or len(class_weight) == num_classes,
            f"class_weight needs {num_classes} numbers, got {len(class_weight or ())}",
        )
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer("class_weight", weight, persistent=False)
        self.register_buffer("pos_weight", None, persistent=False)
        self.dropout = nn.Dropout(dropout_ratio)
        self.dropout_before_pool = dropout_before_pool
        last = nn.Linear(in_channels, num_classes + background_class)
        hidden = (nn.Linear(in_channels, in_channels), nn.ReLU(inplace=True)) if mlp_head else ()
        self.fc_cls: nn.Module = nn.Sequential(*hidden, last) if hidden else last
        for layer in self.fc_cls.modules():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.dropout_before_pool:
            x = self.dropout(x)
        x = x.mean(2) if self.temporal_pool_type == "avg" else x.amax(2)
        x = x.mean((2, 3)) if self.spatial_pool_type == "avg" else x.amax((2, 3))
        if not self.dropout_before_pool:
            x = self.dropout(x)
        out: Tensor = self.fc_cls(x)
        return out

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities from the scores of ``forward``: the same shape."""
        return logits.sigmoid() if self.multilabel else logits.softmax(-1)

    def actions(self, outputs: Tensor) -> Tensor:
        """Return outputs, scores or probabilities, without the background: (..., K)."""
        return outputs[..., int(self.background_class) :]

    def weight_classes(self, counts: Tensor, samples: int) -> str:
        """Set weights from the size of each class, and return a sentence about them; see ``Model.weight_classes``."""
        if self.class_weight is not None:
            raise UserError("class_weight of the bbox_head sets the weights of classes, too: remove one of them")
        seen = counts > 0
        if self.multilabel:
            weight = torch.where(seen, (samples - counts).clamp(min=1) / counts.clamp(min=1), 1.0)
            self.pos_weight = weight
            return (
                f"an action that is there counts {_span(weight[seen])} times: samples without it, divided by those with"
            )
        self.class_weight = weight = counts.sum() / (seen.sum() * counts.clamp(min=1))
        return f"the loss of a class counts {_span(weight[seen])} times, in inverse proportion to its samples"

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``loss_action_cls``, and recall and precision at a probability of 0.5 and of the best classes.

        Only boxes with a class count; without any, all values are 0.

        Args:
            logits: scores of ``forward``.
            labels: (R, K) multi-hot, or soft.
            weights: (R,) weights of the boxes in the loss; default: 1.
        """
        logits, labels = self.actions(logits).float(), labels.float()
        if labels.shape != logits.shape:
            raise UserError(
                f"labels of boxes have {labels.shape[-1]} classes; num_classes of the bbox_head is {self.num_classes}"
            )
        known = labels.sum(1) > 0
        rows, wanted = logits[known], labels[known]
        if self.multilabel:
            entropy = F.binary_cross_entropy_with_logits(
                rows, wanted, self.class_weight, reduction="none", pos_weight=self.pos_weight
            )
        else:
            share = wanted / wanted.sum(1, keepdim=True)  # several classes share the probability
            entropy = F.cross_entropy(rows, share, self.class_weight, reduction="none")[:, None]
        focal = self.focal_alpha * (1 - (-entropy).exp()) ** self.focal_gamma * entropy
        if weights is not None:
            focal = focal * weights[known, None]
        losses = self._figures(rows.detach(), wanted)
        losses["loss_action_cls"] = focal.sum() / max(focal.numel(), 1)
        return losses

    def _figures(self, logits: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = recall_precision(logits, labels > 0, self.topk, self.multilabel)
        names = ["thr=0.5", *(f"top{k}" for k in self.topk)]
        figures: dict[str, Tensor] = {}
        for name, recall, precision in zip(names, *found, strict=True):
            figures |= {f"recall@{name}": recall, f"prec@{name}": precision}
        return figures


def _span(weights: Tensor) -> str:
    return f"{weights.min():.3g} to {weights.max():.3g}"


def recall_precision(
    logits: Tensor, labels: Tensor, topk: Sequence[int], multilabel: bool, threshold: float = 0.5
) -> tuple[list[Tensor], list[Tensor]]:
    """Return recall and precision, each for the classes above a threshold and for the k best, averaged over boxes.

    Recall is averaged over boxes with a label; both are 0 if there are no boxes.

    Args:
        logits: (R, K) scores before the sigmoid or softmax.
        labels: (R, K) bool.
        topk: values of k.
        multilabel: the first pair is of the classes with a probability above ``threshold``; otherwise of the best.
        threshold: see ``multilabel``.
    """
    order = logits.argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # rank of each class
    best = logits.sigmoid() > threshold if multilabel else order < 1
    chosen = [best, *(order < k for k in topk)]
    labelled = labels.any(1)
    recalls, precisions = [], []
    for picked in chosen:
        hits = (picked & labels).sum(1).float()
        recall = hits[labelled] / labels[labelled].sum(1)
        recalls.append(recall.sum() / max(len(recall), 1))
        precisions.append((hits / (picked.sum(1) + 1e-6)).sum() / max(len(hits), 1))
    return recalls, precisions
