"""ResNet on frames.

Paper: Deep Residual Learning for Image Recognition, arXiv:1512.03385.
Shapes: N frames, C channels, H height, W width; input (N, 3, H, W), output (N, 512 * expansion, H/32, W/32).
What differs: the stride of a bottleneck is in its 3x3 convolution (``style="pytorch"``), as in common published
weights, or in its first 1x1 convolution as in the paper (``style="caffe"``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from vid_recognition.models.layers import Backbone, ConvUnit, init_conv_net
from vidcore.nn import require

__all__ = ["BasicBlock", "Bottleneck", "ResNet"]

Style = Literal["pytorch", "caffe"]


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut. The first has the stride; ``style`` is ignored."""

    expansion = 1

    def __init__(
        self, inplanes: int, planes: int, stride: int, dilation: int, style: Style, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        conv1 = nn.Conv2d(inplanes, planes, 3, stride, padding=dilation, dilation=dilation, bias=False)
        self.conv1 = ConvUnit(conv1, act=nn.ReLU(inplace=True))
        self.conv2 = ConvUnit(nn.Conv2d(planes, planes, 3, padding=1, bias=False))
        self.downsample = downsample
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv2(self.conv1(x)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut."""

    expansion = 4

    def __init__(
        self, inplanes: int, planes: int, stride: int, dilation: int, style: Style, downsample: nn.Module | None
    ) -> None:
        super().__init__()
        first, second = (1, stride) if style == "pytorch" else (stride, 1)
        conv2 = nn.Conv2d(planes, planes, 3, second, padding=dilation, dilation=dilation, bias=False)
        self.conv1 = ConvUnit(nn.Conv2d(inplanes, planes, 1, first, bias=False), act=nn.ReLU(inplace=True))
        self.conv2 = ConvUnit(conv2, act=nn.ReLU(inplace=True))
        self.conv3 = ConvUnit(nn.Conv2d(planes, planes * self.expansion, 1, bias=False))
        self.downsample = downsample
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(self.conv3(self.conv2(self.conv1(x))) + shortcut)


DEPTHS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}


class ResNet(Backbone):
    """ResNet-18 to ResNet-152 (arXiv:1512.03385, table 1).

    Args:
        depth: 18, 34, 50, 101 or 152.
        in_channels: channels of a frame; 10 for five stacked optical flow fields.
        num_stages: number of stages, at most four.
        out_indices: stages (from 0) whose outputs are returned.
        strides: stride of the first block of each stage.
        dilations: dilation of the 3x3 convolutions of each stage.
        style: convolution that has the stride of a bottleneck: ``pytorch`` the 3x3, ``caffe`` the first 1x1.
        partial_bn: freeze statistics and weights of all batch norms but the first (TSN, arXiv:1608.00859).
        frozen_stages, norm_eval, with_cp: see ``Backbone``.

    ``forward``: (N, in_channels, H, W) -> (N, C, H', W'), or a tuple of these for multiple ``out_indices``.
    """

    any_activation = True

    def __init__(
        self,
        depth: int,
        in_channels: int = 3,
        num_stages: int = 4,
        out_indices: Sequence[int] = (3,),
        strides: Sequence[int] = (1, 2, 2, 2),
        dilations: Sequence[int] = (1, 1, 1, 1),
        style: Style = "pytorch",
        frozen_stages: int = -1,
        norm_eval: bool = False,
        partial_bn: bool = False,
        with_cp: bool = False,
    ) -> None:
        super().__init__(num_stages, out_indices, frozen_stages, norm_eval, with_cp)
        require(depth in DEPTHS, f"depth must be one of {sorted(DEPTHS)}, got {depth}")
        require(1 <= num_stages <= 4, f"num_stages must be 1 to 4, got {num_stages}")
        require(
            len(strides) >= num_stages and len(dilations) >= num_stages,
            f"strides {tuple(strides)} and dilations {tuple(dilations)} need one entry for each of {num_stages} stages",
        )
        self.partial_bn = partial_bn
        block, depths = DEPTHS[depth]
        conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.conv1 = ConvUnit(conv1, act=nn.ReLU(inplace=True))
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stage_blocks = depths[:num_stages]
        self.channels = [64 * 2**i * block.expansion for i in range(num_stages)]
        inplanes = 64
        for i, blocks in enumerate(self.stage_blocks):
            planes, stride = 64 * 2**i, strides[i]
            layers = []
            for j in range(blocks):
                shortcut = None
                if j == 0 and (stride != 1 or inplanes != planes * block.expansion):
                    shortcut = ConvUnit(nn.Conv2d(inplanes, planes * block.expansion, 1, stride, bias=False))
                layers.append(block(inplanes, planes, stride if j == 0 else 1, dilations[i], style, shortcut))
                inplanes = planes * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers))
        init_conv_net(self)
        self.freeze()

    def stem(self, x: Tensor) -> Tensor:
        return self.maxpool(self.conv1(x))

    def fix_norms(self) -> None:
        super().fix_norms()
        if self.partial_bn:
            # 2D only: the batch norm of a non-local block is initialised with zeros and would stay zero
            norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d)]
            for norm in norms[1:]:
                norm.eval()
                norm.requires_grad_(False)
