"""The part of a detector behind its backbone: features of boxes, what relates them to more, and their actions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vid_detection.models.acrn import ACRNHead
from vid_detection.models.bbox_head import BBoxHeadAVA
from vid_detection.models.feature_bank import FBOHead
from vid_detection.models.roi_extractor import SingleRoIExtractor3D
from vidcore.nn import require, require_type

__all__ = ["AVARoIHead"]

Features = Tensor | Sequence[Tensor]


class AVARoIHead(nn.Module):
    """Box features, an optional head shared by all classes, and the classifier.

    Args:
        bbox_head: the classifier.
        bbox_roi_extractor: pools the features of boxes; default: ``SingleRoIExtractor3D`` with its defaults.
        shared_head: ``ACRNHead`` relates boxes to their surroundings, ``FBOHead`` to a feature bank.

    Shapes: B clips, N boxes of each, R boxes together, C channels, K classes; boxes are in pixels.
    """

    def __init__(
        self,
        bbox_head: nn.Module,
        bbox_roi_extractor: nn.Module | None = None,
        shared_head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        extractor = SingleRoIExtractor3D() if bbox_roi_extractor is None else bbox_roi_extractor
        self.bbox_roi_extractor = require_type(extractor, SingleRoIExtractor3D, "bbox_roi_extractor")
        require(
            shared_head is None or isinstance(shared_head, ACRNHead | FBOHead),
            f"shared_head must be an ACRNHead or FBOHead, got {type(shared_head).__name__}",
        )
        self.shared_head = shared_head
        self.bbox_head = require_type(bbox_head, BBoxHeadAVA, "bbox_head")

    def forward(
        self, features: Features, boxes: Tensor, count: Tensor | None = None, bank: Tensor | None = None
    ) -> Tensor:
        """Return the scores of boxes: (B, N, K); zeros for boxes that are padding.

        Args:
            features: (B, C, T, H, W), or several.
            boxes: (B, N, 4).
            count: (B,) int64 boxes of each clip that are not padding; default: all.
            bank: (B, L, D) rows of a feature bank, for ``FBOHead``.
        """
        logits = self.bbox_head(self.box_features(features, boxes, count, bank))
        if count is None:
            return logits.unflatten(0, boxes.shape[:2])
        out = logits.new_zeros((*boxes.shape[:2], logits.shape[1]))
        out[_real(boxes, count)] = logits
        return out

    def box_features(
        self, features: Features, boxes: Tensor, count: Tensor | None = None, bank: Tensor | None = None
    ) -> Tensor:
        """Return the input of the classifier for the boxes that are not padding, clip by clip: (R, C, T, H, W).

        Arguments: see ``forward``.
        """
        x, whole = self.bbox_roi_extractor(features, boxes)
        owners = torch.arange(boxes.shape[0], device=boxes.device)[:, None].expand(boxes.shape[:2])
        if count is None:
            x, owners = x.flatten(0, 1), owners.flatten()
        else:
            real = _real(boxes, count)
            x, owners = x[real], owners[real]
        return x if self.shared_head is None else self.shared_head(x, whole, owners, bank)


def _real(boxes: Tensor, count: Tensor) -> Tensor:
    """Return which boxes are not padding: (B, N) bool."""
    return torch.arange(boxes.shape[1], device=boxes.device) < count[:, None]
