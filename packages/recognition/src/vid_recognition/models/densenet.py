"""DenseNet on frames.

Paper: Densely Connected Convolutional Networks, arXiv:1608.06993, table 1 (DenseNet-BC).
Shapes: N frames, C channels, H height, W width; input (N, 3, H, W), output (N, 2208, H/32, W/32) for 161 layers.
What differs: nothing.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone, init_conv_net
from vidcore.nn import require

__all__ = ["DenseNet"]

DEPTHS = {
    121: (32, (6, 12, 24, 16)),
    161: (48, (6, 12, 36, 24)),
    169: (32, (6, 12, 32, 32)),
    201: (32, (6, 12, 48, 32)),
}
"""Growth rate (channels that each layer adds) and layers per block."""
BOTTLENECK = 4
"""Channels of the 1x1 convolution, as a multiple of the growth rate."""


class DenseLayer(nn.Module):
    """Appends ``growth`` channels to its input: batch norm, ReLU and convolution (1x1), then the same (3x3)."""

    def __init__(self, inplanes: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inplanes)
        self.conv1 = nn.Conv2d(inplanes, BOTTLENECK * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(BOTTLENECK * growth)
        self.conv2 = nn.Conv2d(BOTTLENECK * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = self.conv1(torch.relu_(self.norm1(x)))
        out = self.conv2(torch.relu_(self.norm2(out)))
        return torch.cat((x, out), dim=1)


def _transition(inplanes: int) -> nn.Sequential:
    """Halve the channels, height and width."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(inplanes),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(inplanes, inplanes // 2, 1, bias=False),
            pool=nn.AvgPool2d(2, 2),
        )
    )


class DenseNet(Backbone):
    """DenseNet-121 to DenseNet-201 (arXiv:1608.06993).

    Args:
        depth: 121, 161, 169 or 201.
        in_channels: channels of a frame.
        frozen_stages, norm_eval, with_cp: see ``Backbone``.

    ``forward``: (N, in_channels, H, W) -> (N, C, H/32, W/32).
    """

    def __init__(
        self,
        depth: int = 161,
        in_channels: int = 3,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__(4, (3,), frozen_stages, norm_eval, with_cp)
        require(depth in DEPTHS, f"depth must be one of {sorted(DEPTHS)}, got {depth}")
        growth, blocks = DEPTHS[depth]
        planes = 2 * growth
        self.features = nn.Sequential(
            OrderedDict(
                conv0=nn.Conv2d(in_channels, planes, 7, stride=2, padding=3, bias=False),
                norm0=nn.BatchNorm2d(planes),
                relu0=nn.ReLU(inplace=True),
                pool0=nn.MaxPool2d(3, stride=2, padding=1),
            )
        )
        for i, count in enumerate(blocks, start=1):
            if i > 1:
                self.features.add_module(f"transition{i - 1}", _transition(planes))
                planes //= 2
            block = nn.Sequential()
            for j in range(1, count + 1):
                block.add_module(f"denselayer{j}", DenseLayer(planes, growth))
                planes += growth
            self.features.add_module(f"denseblock{i}", block)
        self.features.add_module("norm5", nn.BatchNorm2d(planes))
        init_conv_net(self)
        self.freeze()

    @property
    def stages(self) -> list[nn.Module]:
        return [self.features.get_submodule(f"denseblock{i}") for i in range(1, 5)]

    def freezable(self) -> list[list[nn.Module]]:
        between = [[], *([self.features.get_submodule(f"transition{i}")] for i in range(1, 4))]
        stages = [[*before, stage] for before, stage in zip(between, self.stages, strict=True)]
        return [[self.features.get_submodule("conv0"), self.features.get_submodule("norm0")], *stages]

    def stem(self, x: Tensor) -> Tensor:
        return self.features[:4](x)

    def after_stage(self, index: int, x: Tensor) -> Tensor:
        if index < 3:
            return self.features.get_submodule(f"transition{index + 1}")(x)
        return torch.relu_(self.features.get_submodule("norm5")(x))
