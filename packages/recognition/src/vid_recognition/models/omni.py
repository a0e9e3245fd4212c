"""OmniSource: one network for clips and for web images, with a classifier for each.

Paper: Omni-sourced Webly-supervised Learning for Video Recognition, arXiv:2003.13042, section 4.
Shapes: N clips, C channels, T frames, H height, W width; input (N, 3, T, H, W) clips or (N, 3, H, W) images,
output (N, 2048, T, H/32, W/32) or (N, 2048, H/32, W/32).
What differs: parameters are named as in image classification libraries (``layer1.0.conv1.weight``,
``layer1.0.bn1.weight``), because those of published weights are. An image is treated as a still video: kernels
are summed over time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.models.heads import Head
from vid_recognition.models.layers import Backbone, init_conv_net
from vid_recognition.models.recognizers import Recognizer

__all__ = ["OmniHead", "OmniResNet", "RecognizerOmni"]

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1 (3x1x1 if inflated), 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, inplanes: int, width: int, stride: int, inflate: bool) -> None:
        super().__init__()
        planes = width * EXPANSION
        time = 3 if inflate else 1
        self.conv1 = nn.Conv3d(inplanes, width, (time, 1, 1), padding=(time // 2, 0, 0), bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = nn.Conv3d(width, width, (1, 3, 3), (1, stride, stride), padding=(0, 1, 1), bias=False)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = nn.Conv3d(width, planes, 1, bias=False)
        self.bn3 = nn.BatchNorm3d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(
                nn.Conv3d(inplanes, planes, 1, (1, stride, stride), bias=False), nn.BatchNorm3d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(x) if x.shape[2] > 1 else F.conv3d(x, self.conv1.weight.sum(2, keepdim=True))
        out = torch.relu_(self.bn1(out))
        out = torch.relu_(self.bn2(self.conv2(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu_(self.bn3(self.conv3(out)) + shortcut)


class OmniResNet(Backbone):
    """The slow pathway of SlowFast (arXiv:1812.03982) for clips and images.

    Args:
        layers: blocks per stage; default: those of ResNet-50.
        frozen_stages, norm_eval, with_cp: see ``Backbone``.

    ``forward``: (N, 3, T, H, W) -> (N, 2048, T, H', W'), or (N, 3, H, W) -> (N, 2048, H', W').
    """

    def __init__(
        self,
        layers: Sequence[int] = (3, 4, 6, 3),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__(len(layers), (len(layers) - 1,), frozen_stages, norm_eval, with_cp)
        self.conv1 = nn.Conv3d(3, 64, (1, 7, 7), (1, 2, 2), padding=(0, 3, 3), bias=False)
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1))
        inplanes = 64
        for i, blocks in enumerate(layers):
            stage = nn.Sequential()
            for j in range(blocks):
                stage.append(Bottleneck(inplanes, 64 * 2**i, 2 if i > 0 and j == 0 else 1, inflate=i >= 2))
                inplanes = 64 * 2**i * EXPANSION
            self.add_module(f"layer{i + 1}", stage)
        init_conv_net(self)
        self.freeze()

    def freezable(self) -> list[list[nn.Module]]:
        return [[self.conv1, self.bn1], *([stage] for stage in self.stages)]

    def stem(self, x: Tensor) -> Tensor:
        return self.maxpool(torch.relu_(self.bn1(self.conv1(x))))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if x.ndim == 5:
            return super().forward(x)
        features = super().forward(x.unsqueeze(2))
        assert isinstance(features, Tensor)
        return features.squeeze(2)


class OmniHead(Head):
    """A classifier for clips and one for images.

    Args:
        image_classes: number of image classes.
        video_classes: number of clip classes.
        in_channels: channels of the features.
        image_dropout_ratio: probability of zeroing a feature of an image while training.
        video_dropout_ratio: probability of zeroing a feature of a clip while training.
        video_nl_head: the classifier of clips has a hidden layer.

    and the arguments of ``Head``. ``forward``: features (rows, C, T, H, W) of clips or
    (rows, C, H, W) of images -> scores (batch_size, views, video_classes or image_classes).
    """

    def __init__(
        self,
        image_classes: int,
        video_classes: int,
        in_channels: int,
        image_dropout_ratio: float = 0.2,
        video_dropout_ratio: float = 0.5,
        video_nl_head: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.fc2d = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(1),
            nn.BatchNorm1d(in_channels),
            nn.Dropout(image_dropout_ratio),
            nn.Linear(in_channels, image_classes),
        )
        self.fc3d = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(1))
        if video_nl_head:
            hidden = 2 * video_classes
            self.fc3d.extend([nn.Linear(in_channels, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)])
            in_channels = hidden
        self.fc3d.extend([nn.Dropout(video_dropout_ratio), nn.Linear(in_channels, video_classes)])

    def forward(self, features: Tensor, batch_size: int) -> Tensor:
        classifier = self.fc2d if features.ndim == 4 else self.fc3d
        scores: Tensor = classifier(features).unflatten(0, (batch_size, -1))
        return scores


class RecognizerOmni(Recognizer):
    """For clips and images; a batch has only one of both.

    ``forward``: (B, V, C, T, H, W) or (B, C, T, H, W) clips, or (B, C, H, W) images -> (B, V, K).
    """

    layout = "batch views channels time height width"
    averages_clips = True

    def extract_features(self, inputs: Tensor) -> Any:
        if inputs.ndim == 4:
            return self.backbone(inputs)
        return super().extract_features(inputs.unsqueeze(1) if inputs.ndim == 5 else inputs)
