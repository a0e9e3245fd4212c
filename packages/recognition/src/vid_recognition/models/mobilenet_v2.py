"""MobileNetV2 on frames, with and without temporal shift.

Papers: MobileNetV2, arXiv:1801.04381, table 2; TSM, arXiv:1811.08383.
Shapes: N frames, C channels, H height, W width; input (N, 3, H, W), output (N, 1280, H/32, W/32).
What differs: nothing; with temporal shift, each block with a shortcut shifts before its first convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from vid_recognition.models.layers import Backbone, ConvUnit, init_conv_net
from vid_recognition.models.resnet_tsm import TemporalShift
from vidcore.nn import make_divisible

__all__ = ["MobileNetV2", "MobileNetV2TSM"]

STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""Expansion, channels, blocks, stride (table 2)."""


class InvertedResidual(nn.Module):
    """Expansion (1x1), depthwise (3x3) and projection (1x1) convolutions, and a shortcut if shapes match."""

    def __init__(self, inplanes: int, planes: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and inplanes == planes
        inner = inplanes * expansion
        depthwise = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=inner, bias=False)
        units = [
            ConvUnit(depthwise, act=nn.ReLU6(inplace=True)),
            ConvUnit(nn.Conv2d(inner, planes, 1, bias=False)),
        ]
        if expansion != 1:
            units.insert(0, ConvUnit(nn.Conv2d(inplanes, inner, 1, bias=False), act=nn.ReLU6(inplace=True)))
        self.conv = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return x + out if self.shortcut else out


class MobileNetV2(Backbone):
    """MobileNetV2 (arXiv:1801.04381).

    Args:
        widen_factor: factor of the channels of each layer.
        in_channels: channels of a frame.
        out_indices: outputs to return: 0 to 6 the stages, 7 the last convolution.
        frozen_stages, norm_eval, with_cp: see ``Backbone``.

    ``forward``: (N, in_channels, H, W) -> (N, C, H', W'), or a tuple of these for multiple ``out_indices``.
    """

    def __init__(
        self,
        widen_factor: float = 1.0,
        in_channels: int = 3,
        out_indices: Sequence[int] = (7,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__(len(STAGES) + 1, out_indices, frozen_stages, norm_eval, with_cp)
        planes = make_divisible(32 * widen_factor)
        stem = nn.Conv2d(in_channels, planes, 3, stride=2, padding=1, bias=False)
        self.conv1 = ConvUnit(stem, act=nn.ReLU6(inplace=True))
        for i, (expansion, channels, blocks, stride) in enumerate(STAGES):
            layer = nn.Sequential()
            for j in range(blocks):
                width = make_divisible(channels * widen_factor)
                layer.append(InvertedResidual(planes, width, stride if j == 0 else 1, expansion))
                planes = width
            self.add_module(f"layer{i + 1}", layer)
        last = int(1280 * max(widen_factor, 1.0))
        self.conv2 = ConvUnit(nn.Conv2d(planes, last, 1, bias=False), act=nn.ReLU6(inplace=True))
        init_conv_net(self)
        self.freeze()

    @property
    def stages(self) -> list[nn.Module]:
        return [*(self.get_submodule(f"layer{i + 1}") for i in range(len(STAGES))), self.conv2]

    def stem(self, x: Tensor) -> Tensor:
        return self.conv1(x)


class MobileNetV2TSM(MobileNetV2):
    """MobileNetV2 with temporal shift.

    Args:
        num_segments: frames of a clip; must match the head and ``num_clips`` of the pipeline.
        is_shift: shift channels.
        shift_div: 2 / shift_div of the channels are shifted.

    and the arguments of ``MobileNetV2``. ``forward``: (N * num_segments, C, H, W) -> (N * num_segments, C', H', W').
    """

    def __init__(self, num_segments: int = 8, is_shift: bool = True, shift_div: int = 8, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        for block in [m for m in self.modules() if isinstance(m, InvertedResidual)]:
            if is_shift and block.shortcut and len(block.conv) == 3:
                block.conv[0] = TemporalShift(block.conv[0], num_segments, shift_div)
