"""X3D: small networks, expanded along one axis at a time from an even smaller one.

Paper: X3D: Expanding Architectures for Efficient Video Recognition, arXiv:2004.04730.
Shapes: N clips, C channels, T frames, H height, W width; input (N, 3, T, H, W), output (N, C', T, H/32, W/32);
C' is 432 for X3D-M.
What differs: squeeze-and-excitation is in every second block, as in the published weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone, ConvUnit, check_channels, init_conv_net
from vidcore.nn import make_divisible, require

__all__ = ["X3D"]

Triple = tuple[int, int, int]
BLOCKS = (1, 2, 5, 3)
"""Blocks of each stage before expansion (table 1)."""
ONE: Triple = (1, 1, 1)


def _unit(
    inplanes: int,
    planes: int,
    kernel: Triple = ONE,
    stride: Triple = ONE,
    depthwise: bool = False,
    act: nn.Module | None = None,
) -> ConvUnit:
    padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
    groups = planes if depthwise else 1
    return ConvUnit(nn.Conv3d(inplanes, planes, kernel, stride, padding, groups=groups, bias=False), act=act)


class SqueezeExcitation(nn.Module):
    """Scales channels by numbers that depend on the mean of all of them (arXiv:1709.01507)."""

    def __init__(self, channels: int, ratio: float) -> None:
        super().__init__()
        middle = make_divisible(channels * ratio)
        self.fc1, self.fc2 = nn.Conv3d(channels, middle, 1), nn.Conv3d(middle, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        squeezed = x.mean((2, 3, 4), keepdim=True)
        return x * self.fc2(torch.relu_(self.fc1(squeezed))).sigmoid()


class _Block(nn.Module):
    """1x1x1, depthwise 3x3x3 and 1x1x1 convolutions, and a shortcut."""

    def __init__(self, inplanes: int, planes: int, middle: int, stride: int, se_ratio: float | None) -> None:
        super().__init__()
        strides = (1, stride, stride)
        self.conv1 = _unit(inplanes, middle, act=nn.ReLU(inplace=True))
        self.conv2 = _unit(middle, middle, (3, 3, 3), strides, depthwise=True)
        self.se_module = SqueezeExcitation(middle, se_ratio) if se_ratio else nn.Identity()
        self.swish = nn.SiLU(inplace=True)
        self.conv3 = _unit(middle, planes)
        self.downsample = _unit(inplanes, planes, stride=strides) if stride > 1 or inplanes != planes else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv3(self.swish(self.se_module(self.conv2(self.conv1(x)))))
        return torch.relu_(x + shortcut)


class X3D(Backbone):
    """X3D (tables 1 and 3): X3D-S and X3D-M are ``gamma_b=2.25, gamma_d=2.2``, X3D-L has ``gamma_d=5``.

    Args:
        gamma_w: factor of all widths.
        gamma_b: width of the depthwise convolution of a block, relative to that of the block.
        gamma_d: factor of the number of blocks of all stages.
        in_channels: channels of a frame.
        base_channels: channels after the stem, before expansion; each stage but the first doubles them.
        num_stages: number of stages, at most four.
        spatial_strides: stride of each stage in height and width.
        se_ratio: channels between both layers of squeeze-and-excitation, relative to its input; None: without.
        zero_init_residual: new blocks start as the identity.
        frozen_stages, norm_eval, with_cp: see ``Backbone``.

    ``forward``: (N, in_channels, T, H, W) -> (N, C, T, H', W').
    """

    def __init__(
        self,
        gamma_w: float = 1.0,
        gamma_b: float = 1.0,
        gamma_d: float = 1.0,
        in_channels: int = 3,
        base_channels: int = 24,
        num_stages: int = 4,
        spatial_strides: Sequence[int] = (2, 2, 2, 2),
        frozen_stages: int = -1,
        se_ratio: float | None = 1 / 16,
        norm_eval: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = True,
    ) -> None:
        super().__init__(num_stages, (num_stages - 1,), frozen_stages, norm_eval, with_cp)
        require(1 <= num_stages <= 4, f"num_stages must be 1 to 4, got {num_stages}")
        require(len(spatial_strides) >= num_stages, f"spatial_strides must have {num_stages} entries")
        inplanes = make_divisible(base_channels * gamma_w)
        self.conv1_s = ConvUnit(
            nn.Conv3d(in_channels, inplanes, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False), norm=False
        )
        self.conv1_t = _unit(inplanes, inplanes, (5, 1, 1), depthwise=True, act=nn.ReLU(inplace=True))
        for i in range(num_stages):
            planes = make_divisible(base_channels * 2**i * gamma_w)
            middle = int(planes * gamma_b)
            layers = []
            for j in range(math.ceil(BLOCKS[i] * gamma_d)):
                stride = spatial_strides[i] if j == 0 else 1
                layers.append(_Block(inplanes, planes, middle, stride, se_ratio if j % 2 == 0 else None))
                inplanes = planes
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers))
        self.out_channels = int(inplanes * gamma_b)
        self.conv5 = _unit(inplanes, self.out_channels, act=nn.ReLU(inplace=True))
        init_conv_net(self)
        for module in self.modules():
            if isinstance(module, _Block) and zero_init_residual:
                nn.init.zeros_(module.conv3.bn.weight)
        self.freeze()

    def freezable(self) -> list[list[nn.Module]]:
        return [[self.conv1_s, self.conv1_t], *([stage] for stage in self.stages)]

    def stem(self, x: Tensor) -> Tensor:
        check_channels(x, self.conv1_s.conv.in_channels)
        return self.conv1_t(self.conv1_s(x))

    def after_stage(self, index: int, x: Tensor) -> Tensor:
        return self.conv5(x) if index == self.num_stages - 1 else x
