"""A recognizer of skeletons, and its head.

Shapes: B samples, L clips of a sample, M persons, T frames, V joints, C coordinates of a joint, K classes.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from vid_recognition.models.heads import ClassificationHead, FeatureHead
from vid_recognition.models.recognizers import Recognizer
from vid_skeleton.models.layers import GraphBackbone
from vidcore.errors import UserError
from vidcore.nn import average_views, require_type

__all__ = ["GCNHead", "RecognizerGCN"]


class GCNHead(ClassificationHead):
    """Classifies the mean over persons, frames and joints.

    Args:
        num_classes: number of classes.
        in_channels: channels of the features.
        dropout: probability of zeroing a feature while training.
        init_std: standard deviation of the classifier's initial weights.

    and the arguments of ``Head``.
    """

    def __init__(
        self, num_classes: int, in_channels: int, dropout: float = 0.0, init_std: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(num_classes, in_channels, dropout_ratio=dropout, init_std=init_std, **kwargs)
        self.fc = self.fc_cls
        del self.fc_cls  # published weights name it fc

    def pool(self, features: Tensor) -> Tensor:
        """Average over persons, frames and joints: (rows, M, C, T, V) -> (rows, C)."""
        return features.mean((1, 3, 4))

    def linear(self, pooled: Tensor) -> Tensor:
        if (found := pooled.shape[1]) != self.fc.in_features:
            raise UserError(f"cls_head.in_channels is {self.fc.in_features}, but the backbone returns {found} channels")
        out: Tensor = self.fc(pooled)
        return out


class RecognizerGCN(Recognizer):
    """For graph networks on skeletons. ``forward``: (B, L, M, T, V, C) -> (B, L, K).

    Takes the arguments of ``Recognizer``; the input is ``joints`` of ``FormatGCNInput``.
    """

    layout = "batch clips persons time joints coordinates"
    averages_clips = True

    def __init__(self, backbone: nn.Module, cls_head: nn.Module | None = None, **kwargs: Any) -> None:
        super().__init__(require_type(backbone, GraphBackbone, "backbone"), cls_head, **kwargs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the class scores of each clip: (B, L, K)."""
        features = self.extract_features(inputs)
        if isinstance(self.cls_head, FeatureHead):
            features = features.transpose(1, 2)  # channels first: (B * L, C, M, T, V)
        out: Tensor = self.cls_head(features, inputs.shape[0])
        return out

    def clip_features(self, inputs: Tensor) -> Tensor:
        features = self.extract_features(inputs)
        return average_views(features.mean((1, 3, 4)), inputs.shape[1])
