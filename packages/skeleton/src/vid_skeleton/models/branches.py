"""The temporal unit of MS-G3D (arXiv:2003.14111) and CTR-GCN (arXiv:2107.12213): branches of different dilation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vid_skeleton.models.layers import TemporalUnit, residual
from vidcore.nn import require

__all__ = ["MultiScaleBranches"]


class MultiScaleBranches(nn.Module):
    """Convolutions of several dilations, a maximum over 3 frames and a pointwise branch, side by side, then ReLU.

    (N, C, T, V) -> (N, C', T / stride, V).

    Args:
        in_channels: C.
        out_channels: C', divided among the branches.
        kernel_size: frames of a convolution.
        stride: distance of frames of the output.
        dilations: of the convolutions.
        with_residual: add the input.
        with_relu: end with ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        dilations: Sequence[int] = (1, 2, 3, 4),
        with_residual: bool = True,
        with_relu: bool = True,
    ) -> None:
        super().__init__()
        count = len(dilations) + 2
        require(out_channels % count == 0, f"{out_channels} channels do not divide into {count} temporal branches")
        width = out_channels // count

        def branch(*layers: nn.Module, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(in_channels, width, 1, (stride, 1)), nn.BatchNorm2d(width), *layers)

        convolved = (TemporalUnit(width, width, kernel_size, stride, dilation) for dilation in dilations)
        self.branches = nn.ModuleList(branch(nn.ReLU(inplace=True), unit) for unit in convolved)
        pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        self.branches.append(branch(nn.ReLU(inplace=True), pool, nn.BatchNorm2d(width)))
        self.branches.append(branch(stride=stride))
        self.residual = residual(in_channels, out_channels, stride) if with_residual else None
        self.act = nn.ReLU(inplace=True) if with_relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.cat([branch(x) for branch in self.branches], 1)
        return self.act(y if self.residual is None else y + self.residual(x))
