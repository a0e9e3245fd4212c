"""Temporal pyramid network: a neck that mixes stages of a backbone at several speeds.

Paper: Temporal Pyramid Network for Action Recognition, arXiv:2004.03548.
Shapes: N clips, C channels, T frames, H height, W width, K classes; input one (N, C, T, H, W) for each stage,
output (N, 2048, T', H', W').
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.models.layers import ConvUnit, init_conv_net
from vid_recognition.models.neck import Neck
from vidcore.nn import require

__all__ = ["TPN", "AuxiliaryHead", "Downsample", "LevelFusion", "SpatialModulation", "TemporalModulation"]

Triple = tuple[int, int, int]
GROUPS = 32
"""Groups of the convolutions that change the number of channels of a level."""


def _conv(inplanes: int, planes: int, kernel: Triple, stride: Triple = (1, 1, 1), groups: int = 1) -> nn.Conv3d:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    return nn.Conv3d(inplanes, planes, kernel, stride, padding, groups=groups, bias=False)


def _unit(conv: nn.Conv3d) -> ConvUnit:
    return ConvUnit(conv, act=nn.ReLU(inplace=True))


class SpatialModulation(nn.Module):
    """Brings all levels to the size and channels of the last, by strided convolutions (section 3.2)."""

    def __init__(self, in_channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.spatial_modulation = nn.ModuleList()
        for channels in in_channels:
            doublings = round(math.log2(out_channels / channels))
            widths = [channels * 2**i for i in range(doublings + 1)]
            require(widths[-1] == out_channels, f"{out_channels} channels are not {channels} doubled some times")
            steps = [_unit(_conv(narrow, wide, (1, 3, 3), (1, 2, 2))) for narrow, wide in pairwise(widths)]
            self.spatial_modulation.append(nn.Sequential(*steps))

    def forward(self, levels: Sequence[Tensor]) -> list[Tensor]:
        return [bring(level) for bring, level in zip(self.spatial_modulation, levels, strict=True)]


class TemporalModulation(nn.Module):
    """Convolves along time and keeps every ``scale``-th frame, by maximum: the speed of a level (section 3.2)."""

    def __init__(self, in_channels: int, out_channels: int, scale: int) -> None:
        super().__init__()
        self.conv = ConvUnit(_conv(in_channels, out_channels, (3, 1, 1), groups=GROUPS), norm=False)
        self.pool = _pool((scale, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.conv(x))


class Downsample(nn.Module):
    """A convolution, and pooling by maximum before or after it."""

    def __init__(self, conv: ConvUnit, scale: Triple, position: Literal["before", "after"]) -> None:
        super().__init__()
        self.conv, self.pool, self.position = conv, _pool(scale), position

    def forward(self, x: Tensor) -> Tensor:
        if self.position == "before":
            return self.conv(self.pool(x))
        return self.pool(self.conv(x))


def _pool(scale: Triple) -> nn.MaxPool3d:
    return nn.MaxPool3d(scale, scale, ceil_mode=True)


class LevelFusion(nn.Module):
    """Brings the levels to one size, concatenates and mixes them (section 3.3)."""

    def __init__(
        self, in_channels: Sequence[int], mid_channels: Sequence[int], out_channels: int, scales: Sequence[Triple]
    ) -> None:
        super().__init__()
        self.downsamples = nn.ModuleList(
            Downsample(_unit(_conv(narrow, wide, (1, 1, 1), groups=GROUPS)), scale, "before")
            for narrow, wide, scale in zip(in_channels, mid_channels, scales, strict=True)
        )
        self.fusion_conv = _unit(_conv(sum(mid_channels), out_channels, (1, 1, 1)))

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        fitted = [fit(level) for fit, level in zip(self.downsamples, levels, strict=True)]
        return self.fusion_conv(torch.cat(fitted, 1))


class AuxiliaryHead(nn.Module):
    """Classifies the last level but one while training (section 4.1): (N, C, T, H, W) -> (N, K)."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv = _unit(_conv(in_channels, in_channels * 2, (1, 3, 3), (1, 2, 2)))
        self.dropout = nn.Dropout(0.5)
        self.fc = nn.Linear(in_channels * 2, num_classes)
        nn.init.normal_(self.fc.weight, std=0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.dropout(self.conv(x).mean((2, 3, 4))))


class TPN(Neck):
    """Temporal pyramid network.

    Args:
        in_channels: channels of each level (stage of the backbone), the last first doubled by none.
        out_channels: channels of each level after temporal modulation.
        spatial_channels: channels of each level after spatial modulation; those of the last.
        temporal_scales: frames of each level, divided by those after temporal modulation.
        upsample_scale: size of a level, divided by that of the next; None: no flow from later to earlier levels.
        downsample_scale: the same for the flow from earlier to later levels; None: no such flow.
        fused_channels: channels of the fused levels.
        fusion_scales: pooling of each level before fusion; default: none.
        num_classes: of the auxiliary head, whose loss trains earlier layers; None: no such head.
        aux_weight: weight of that loss.
        flow_type: order of both flows: one after the other (``cascade``) or from the same levels (``parallel``).
    """

    OUT = 2048

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int = 1024,
        spatial_channels: int = 2048,
        temporal_scales: Sequence[int] = (8, 8),
        upsample_scale: Triple | None = (1, 1, 1),
        downsample_scale: Triple | None = (1, 1, 1),
        fused_channels: int = 2048,
        fusion_scales: Sequence[Triple] | None = None,
        num_classes: int | None = None,
        aux_weight: float = 0.5,
        flow_type: Literal["cascade", "parallel"] = "cascade",
    ) -> None:
        super().__init__()
        levels = len(in_channels)
        require(levels > 1, "TPN needs two levels at least: see out_indices of the backbone")
        require(len(temporal_scales) == levels, f"temporal_scales must have {levels} entries, got {temporal_scales}")
        self.upsample_scale, self.flow_type, self.aux_weight = upsample_scale, flow_type, aux_weight
        self.spatial_modulation = SpatialModulation(in_channels, spatial_channels)
        self.temporal_modulation_ops = nn.ModuleList(
            TemporalModulation(spatial_channels, out_channels, scale) for scale in temporal_scales
        )
        self.downsample_ops = nn.ModuleList(
            Downsample(ConvUnit(_conv(out_channels, out_channels, (3, 1, 1)), norm=False), downsample_scale, "after")
            for _ in range(levels - 1)
            if downsample_scale
        )
        widths, scales = [out_channels] * levels, fusion_scales or [(1, 1, 1)] * levels
        self.level_fusion_1 = LevelFusion(widths, widths, fused_channels, scales)
        self.level_fusion_2 = LevelFusion(widths, widths, fused_channels, scales)
        self.pyramid_fusion = _unit(_conv(2 * fused_channels, self.OUT, (1, 1, 1)))
        init_conv_net(self)
        self.aux_head = AuxiliaryHead(in_channels[-2], num_classes) if num_classes else None

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Mix the levels: one (N, C, T, H, W) for each -> (N, 2048, T', H', W')."""
        brought = self.spatial_modulation(features)
        modulated = [slow(level) for slow, level in zip(self.temporal_modulation_ops, brought, strict=True)]
        levels = list(modulated)
        if self.upsample_scale:
            for i in reversed(range(len(levels) - 1)):
                levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=list(map(float, self.upsample_scale)))
        fused = self.level_fusion_1(levels)
        if self.flow_type == "parallel":
            levels = list(modulated)
        for i, down in enumerate(self.downsample_ops):
            levels[i + 1] = levels[i + 1] + down(levels[i])
        return self.pyramid_fusion(torch.cat((fused, self.level_fusion_2(levels)), 1))

    def auxiliary(self, features: Sequence[Tensor]) -> Tensor | None:
        return None if self.aux_head is None else self.aux_head(features[-2])

    def loss(self, scores: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss_aux": self.aux_weight * F.cross_entropy(scores, labels)}
