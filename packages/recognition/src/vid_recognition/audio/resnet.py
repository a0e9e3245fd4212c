"""ResNet on log-mel features, with convolutions that look along time and frequency apart in the early stages.

Paper: Audiovisual SlowFast Networks for Video Recognition, arXiv:2001.08740, section 3.1 (the audio pathway).
Shapes: N clips, C channels, T rows (time), F bands (frequency); input (N, 1, T, F), output (N, 1024, T/8, F/8).
What differs: the stem does not reduce the resolution, and the second convolution of a block has neither norm nor
activation (if it is split, both parts have them), as in the published weights.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone, ConvUnit, init_conv_net
from vid_recognition.models.resnet import DEPTHS, Bottleneck
from vidcore.nn import require

__all__ = ["ConvAudio", "ResNetAudio"]


class ConvAudio(nn.Module):
    """A convolution along time and one along frequency, each with batch norm and ReLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of each convolution.
        kernel_size: length of both kernels, or (time, frequency).
        op: ``concat`` concatenates the two, ``sum`` adds them.
        stride: of both convolutions, on both axes.
        dilation: of both kernels.

    ``forward``: (N, in_channels, T, F) -> (N, out_channels or twice as many, T / stride, F / stride).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        op: Literal["concat", "sum"] = "concat",
        stride: int = 1,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        require(op in ("concat", "sum"), f"op must be concat or sum, got {op!r}")
        time, frequency = (kernel_size, kernel_size) if isinstance(kernel_size, int) else kernel_size
        self.op = op
        units = []
        for kernel in ((time, 1), (1, frequency)):
            padding = (kernel[0] // 2 * dilation, kernel[1] // 2 * dilation)
            conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)
            units.append(ConvUnit(conv, act=nn.ReLU(inplace=True)))
        self.conv_1, self.conv_2 = units

    def forward(self, x: Tensor) -> Tensor:
        along_time, along_frequency = self.conv_1(x), self.conv_2(x)
        if self.op == "sum":
            return along_time + along_frequency
        return torch.cat((along_time, along_frequency), 1)


class Block(nn.Module):
    """1x1, 3x3 (or 3x1 beside 1x3) and 1x1 convolutions and a shortcut; the second has the stride."""

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, stride: int, dilation: int, factorize: bool, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        middle: nn.Module
        if factorize:
            middle = ConvAudio(planes, planes, 3, "concat", stride, dilation)
        else:
            middle = nn.Conv2d(planes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.conv1 = ConvUnit(nn.Conv2d(inplanes, planes, 1, bias=False), act=nn.ReLU(inplace=True))
        self.conv2 = nn.Sequential(OrderedDict(conv=middle))
        self.conv3 = ConvUnit(nn.Conv2d(planes * (1 + factorize), planes * self.expansion, 1, bias=False))
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu_(self.conv3(self.conv2(self.conv1(x))) + shortcut)


class ResNetAudio(Backbone):
    """ResNet-50, 101 or 152 of half the usual width on log-mel features.

    Args:
        depth: 50, 101 or 152.
        in_channels: channels of the input.
        num_stages: number of stages, at most four; the output is that of the last one.
        base_channels: width of the first stage.
        strides: stride of the first block of each stage.
        dilations: dilation of the 3x3 convolutions of each stage.
        conv1_kernel: length of the two kernels of the stem.
        conv1_stride: stride of the stem.
        factorize: for each stage, whether (1) its 3x3 convolutions are split into one along time and one along
            frequency.
        frozen_stages, norm_eval, with_cp: see ``Backbone``.
        zero_init_residual: initialise the last batch norm of each block with zeros.

    ``forward``: (N, in_channels, T, F) -> (N, C, T', F').
    """

    def __init__(
        self,
        depth: int,
        in_channels: int = 1,
        num_stages: int = 4,
        base_channels: int = 32,
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        conv1_kernel: int = 9,
        conv1_stride: int = 1,
        factorize: Sequence[int] = (1, 1, 0, 0),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        zero_init_residual: bool = True,
    ) -> None:
        require(1 <= num_stages <= 4, f"num_stages must be 1 to 4, got {num_stages}")
        super().__init__(num_stages, (num_stages - 1,), frozen_stages, norm_eval, with_cp)
        known = sorted(d for d, (block, _) in DEPTHS.items() if block is Bottleneck)
        require(depth in known, f"depth must be one of {known}, got {depth}")
        for name, values in (("strides", strides), ("dilations", dilations), ("factorize", factorize)):
            require(len(values) >= num_stages, f"{name} needs one entry for each of {num_stages} stages, got {values}")
        self.conv1 = nn.Sequential(
            OrderedDict(
                conv=ConvAudio(in_channels, base_channels, conv1_kernel, "sum", conv1_stride),
                bn=nn.BatchNorm2d(base_channels),
                activate=nn.ReLU(inplace=True),
            )
        )
        inplanes = base_channels
        for i in range(num_stages):
            planes, width = base_channels * 2**i, base_channels * 2**i * Block.expansion
            layers = []
            for j in range(DEPTHS[depth][1][i]):
                stride, shortcut = strides[i] if j == 0 else 1, None
                if j == 0 and (stride != 1 or inplanes != width):
                    shortcut = ConvUnit(nn.Conv2d(inplanes, width, 1, stride, bias=False))
                layers.append(Block(inplanes, planes, stride, dilations[i], bool(factorize[i]), shortcut))
                inplanes = width
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers))
        init_conv_net(self)
        if zero_init_residual:
            for module in self.modules():
                if isinstance(module, Block):
                    nn.init.zeros_(module.conv3.bn.weight)
        self.freeze()

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)
