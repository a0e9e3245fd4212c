"""R(2+1)D: a 3D ResNet whose convolutions are split into one in space and one in time.

Paper: A Closer Look at Spatiotemporal Convolutions for Action Recognition, arXiv:1711.11248.
Shapes: N clips, C channels, T frames, H height, W width; input (N, 3, T, H, W), output (N, 512, T/8, H/32, W/32).
What differs: the stem pools in space; batch norm after a whole convolution has an epsilon of 1e-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from vid_recognition.models.resnet3d import ResNet3d, Triple

__all__ = ["Conv2plus1d", "ResNet2Plus1d"]


class Conv2plus1d(nn.Module):
    """A convolution in space, batch norm, ReLU, and a convolution in time.

    The number of channels between them gives both as many parameters as a full kernel with three frames (section 3.5).
    """

    def __init__(
        self, inplanes: int, planes: int, kernel: Triple, stride: Triple, dilation: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        area = kernel[1] * kernel[2]
        middle = 3 * inplanes * planes * area // (inplanes * area + 3 * planes)
        space = (0, dilation * (kernel[1] // 2), dilation * (kernel[2] // 2))
        self.conv_s = nn.Conv3d(
            inplanes, middle, (1, *kernel[1:]), (1, *stride[1:]), space, (1, dilation, dilation), bias=bias
        )
        self.bn_s = nn.BatchNorm3d(middle)
        self.relu = nn.ReLU(inplace=True)
        self.conv_t = nn.Conv3d(
            middle, planes, (kernel[0], 1, 1), (stride[0], 1, 1), ((kernel[0] - 1) // 2, 0, 0), bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_t(self.relu(self.bn_s(self.conv_s(x))))


class _Unit(nn.Sequential):
    """``Conv2plus1d``, batch norm and perhaps ReLU, named as in ``ConvUnit``."""

    def __init__(
        self,
        inplanes: int,
        planes: int,
        kernel: Triple,
        stride: Triple = (1, 1, 1),
        dilation: int = 1,
        relu: bool = True,
    ) -> None:
        super().__init__()
        self.add_module("conv", Conv2plus1d(inplanes, planes, kernel, stride, dilation))
        self.add_module("bn", nn.BatchNorm3d(planes, eps=1e-3))
        if relu:
            self.add_module("activate", nn.ReLU(inplace=True))


class ResNet2Plus1d(ResNet3d):
    """R(2+1)D (table 1).

    Takes the arguments of ``ResNet3d``, with different defaults.
    """

    conv_unit: ClassVar = _Unit

    def __init__(
        self,
        depth: int = 34,
        temporal_strides: Sequence[int] = (1, 2, 2, 2),
        with_pool2: bool = False,
        zero_init_residual: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            depth,
            temporal_strides=temporal_strides,
            with_pool2=with_pool2,
            zero_init_residual=zero_init_residual,
            **kwargs,
        )
