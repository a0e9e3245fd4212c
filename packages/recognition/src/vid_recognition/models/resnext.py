"""ResNeXt on frames.

Paper: Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431, table 1.
Shapes: N frames, C channels, H height, W width; input (N, 3, H, W), output (N, 2048, H/32, W/32).
What differs: parameters are named as in image classification libraries (``layer1.0.conv1.weight``,
``layer1.0.bn1.weight``), because those of published weights are.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone, init_conv_net
from vidcore.nn import require

__all__ = ["ResNeXt"]

DEPTHS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolutions and a shortcut."""

    def __init__(self, inplanes: int, width: int, planes: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes)
        self.downsample = None
        if stride != 1 or inplanes != planes:
            self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes))

    def forward(self, x: Tensor) -> Tensor:
        out = torch.relu_(self.bn1(self.conv1(x)))
        out = torch.relu_(self.bn2(self.conv2(out)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu_(self.bn3(self.conv3(out)) + shortcut)


class ResNeXt(Backbone):
    """ResNeXt (arXiv:1611.05431); default: ResNeXt-101, 32x4d.

    Args:
        depth: 50, 101 or 152.
        groups: groups of the 3x3 convolutions (cardinality).
        width_per_group: channels of a group in the first stage.
        in_channels: channels of a frame.
        num_stages: number of stages, at most four.
        out_indices: stages (from 0) whose outputs are returned.
        frozen_stages, norm_eval, with_cp: see ``Backbone``.

    ``forward``: (N, in_channels, H, W) -> (N, C, H', W'), or a tuple of them for several ``out_indices``.
    """

    def __init__(
        self,
        depth: int = 101,
        groups: int = 32,
        width_per_group: int = 4,
        in_channels: int = 3,
        num_stages: int = 4,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__(num_stages, out_indices, frozen_stages, norm_eval, with_cp)
        require(depth in DEPTHS, f"depth must be one of {sorted(DEPTHS)}, got {depth}")
        require(1 <= num_stages <= 4, f"num_stages must be 1 to 4, got {num_stages}")
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        inplanes = 64
        for i, blocks in enumerate(DEPTHS[depth][:num_stages]):
            planes, width = 64 * 2**i * EXPANSION, groups * width_per_group * 2**i
            layer = nn.Sequential()
            for j in range(blocks):
                layer.append(Bottleneck(inplanes, width, planes, 2 if i > 0 and j == 0 else 1, groups))
                inplanes = planes
            self.add_module(f"layer{i + 1}", layer)
        init_conv_net(self)
        self.freeze()

    def freezable(self) -> list[list[nn.Module]]:
        return [[self.conv1, self.bn1], *([stage] for stage in self.stages)]

    def stem(self, x: Tensor) -> Tensor:
        return self.maxpool(torch.relu_(self.bn1(self.conv1(x))))
