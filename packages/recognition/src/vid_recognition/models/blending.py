"""Blending of the samples and labels of a training batch.

Papers: mixup, arXiv:1710.09412; CutMix, arXiv:1905.04899.
Shapes: B samples, K classes, H height, W width; inputs (B, ..., H, W), labels (B,) or (B, K).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from attrs import field, frozen, validators
from torch import Tensor

__all__ = ["BatchBlending", "CutmixBlending", "MixupBlending", "RandomBatchAugment", "cutmix", "mixup", "soft_labels"]


def soft_labels(labels: Tensor, num_classes: int) -> Tensor:
    """Return labels (B, K) float32: class numbers (B,) as one-hot, labels (B, K) unchanged.

    >>> soft_labels(torch.tensor([2, 0]), 3).tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    return (F.one_hot(labels, num_classes) if labels.ndim == 1 else labels).float()


def mixup(inputs: Tensor, labels: Tensor, lam: float, permutation: Tensor) -> tuple[Tensor, Tensor]:
    """Blend each sample with a partner, with weights ``lam`` and ``1 - lam``.

    Args:
        inputs: (B, ...) float.
        labels: (B, K) float.
        lam: weight of the sample itself, 0 to 1.
        permutation: (B,) int64 index of each partner.
    """
    return torch.lerp(inputs[permutation], inputs, lam), torch.lerp(labels[permutation], labels, lam)


def cutmix(
    inputs: Tensor, labels: Tensor, lam: float, permutation: Tensor, centre: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Paste a box of a partner into each sample; labels are blended by the area of the box.

    Args:
        inputs: (B, ..., H, W) float.
        labels: (B, K) float.
        lam: fraction of the area that the sample keeps, before the box is clipped at the border.
        permutation: (B,) int64 index of each partner.
        centre: x and y of the centre of the box, in pixels.
    """
    height, width = inputs.shape[-2:]
    side = (1 - lam) ** 0.5
    half_w, half_h = int(width * side) // 2, int(height * side) // 2
    x, y = centre
    columns = slice(max(x - half_w, 0), min(x + half_w, width))
    rows = slice(max(y - half_h, 0), min(y + half_h, height))
    mixed = inputs.clone()
    mixed[..., rows, columns] = inputs[..., rows, columns][permutation]
    kept = 1 - (columns.stop - columns.start) * (rows.stop - rows.start) / (height * width)
    return mixed, torch.lerp(labels[permutation], labels, kept)


class BatchBlending:
    """Base of blendings: ``(inputs, labels) -> (inputs, labels (B, K))``. Draws from torch's CPU generator."""

    num_classes: int

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError


def _draw_lam(alpha: float) -> float:
    return float(torch.distributions.Beta(alpha, alpha).sample())


def _draw_permutation(inputs: Tensor) -> Tensor:
    return torch.randperm(inputs.shape[0]).to(inputs.device, non_blocking=True)


@frozen
class MixupBlending(BatchBlending):
    """Mixup with a weight drawn from Beta(alpha, alpha)."""

    num_classes: int
    """Number of classes of the labels."""
    alpha: float = field(default=0.2, validator=validators.gt(0))

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return mixup(inputs, soft_labels(labels, self.num_classes), _draw_lam(self.alpha), _draw_permutation(inputs))


@frozen
class CutmixBlending(BatchBlending):
    """CutMix with an area drawn from Beta(alpha, alpha) and a centre drawn uniformly."""

    num_classes: int
    """Number of classes of the labels."""
    alpha: float = field(default=0.2, validator=validators.gt(0))

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        height, width = inputs.shape[-2:]
        centre = (int(torch.randint(width, ())), int(torch.randint(height, ())))
        labels = soft_labels(labels, self.num_classes)
        return cutmix(inputs, labels, _draw_lam(self.alpha), _draw_permutation(inputs), centre)


@frozen
class RandomBatchAugment(BatchBlending):
    """Applies a randomly chosen blending to each batch.

    ``probs`` are their probabilities (default: equal); if the sum is below 1, the rest of the batches is unchanged.
    """

    augments: Sequence[BatchBlending]
    """The blendings to choose from."""
    probs: Sequence[float] | None = None

    def __attrs_post_init__(self) -> None:
        if not self.augments:
            raise ValueError("augments must not be empty")
        if len({a.num_classes for a in self.augments}) > 1:
            raise ValueError("all augments must have the same num_classes")
        if self.probs is not None and (len(self.probs) != len(self.augments) or not 0 <= sum(self.probs) <= 1):
            raise ValueError(f"probs must have one number per augment and a sum of at most 1, got {self.probs}")

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        return self.augments[0].num_classes

    def __call__(self, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        probs = self.probs or [1 / len(self.augments)] * len(self.augments)
        draw = float(torch.rand(()))
        for augment, prob in zip(self.augments, probs, strict=True):
            draw -= prob
            if draw < 0:
                return augment(inputs, labels)
        if self.probs is None:  # equal probabilities may sum to slightly less than 1
            return self.augments[-1](inputs, labels)
        return inputs, soft_labels(labels, self.num_classes)
