"""Base class of necks: networks between backbone and head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

__all__ = ["Neck"]


class Neck(nn.Module):
    """Combines the stages of a backbone. ``forward``: one (N, C, T, H, W) for each stage -> features for the head."""

    def auxiliary(self, features: Sequence[Tensor]) -> Tensor | None:
        """Return class scores (N, K) that only training needs; default: None."""
        return None

    def loss(self, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the losses of the scores of ``auxiliary``; labels as in ``Head.loss``."""
        return {}
