"""Actor-centric relation: what a person does with what is around it.

Paper: Actor-Centric Relation Network, arXiv:1807.10982, section 3.2.
Shapes: R boxes of B clips, C channels of a box, D of the map, E of the output, T frames, H and W of the map.
What differs: the first convolution (1x1x1) of the features of a box and of the map, concatenated in each cell, is the
sum of one on the box and one on the map, so that the map of a clip is convolved once and not once per box.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.models.layers import ConvUnit, init_conv_net
from vidcore.nn import require

__all__ = ["ACRNHead"]


class ACRNHead(nn.Module):
    """Relates the features of each box to each cell of the map of its clip.

    Args:
        in_channels: C + D.
        out_channels: E.
        stride: in height and width, of the second convolution.
        num_convs: convolutions (1x3x3) after the first.

    ``forward``: features of boxes (R, C, T', P, Q), the map (B, D, T, H, W), the clip of each box (R,) int64 ->
    (R, E, T, H / stride, W / stride); those of a box are pooled to one cell, by the mean over time and the maximum.
    """

    needs_bank = False

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1, num_convs: int = 1) -> None:
        super().__init__()
        require(num_convs > 0, f"num_convs must be positive, got {num_convs}")
        self.conv1 = _unit(in_channels, out_channels, 1)
        self.conv2 = _unit(out_channels, out_channels, 3, stride)
        self.convs = nn.ModuleList(_unit(out_channels, out_channels, 3) for _ in range(num_convs - 1))
        init_conv_net(self)

    def forward(self, x: Tensor, whole: Tensor, owners: Tensor, bank: Tensor | None = None) -> Tensor:
        box = x.mean(2, keepdim=True).amax((3, 4), keepdim=True)
        of_box, of_map = self.conv1.conv.weight.split((x.shape[1], whole.shape[1]), 1)
        joined = F.conv3d(box, of_box) + F.conv3d(whole, of_map)[owners]
        for part in list(self.conv1)[1:]:  # norm and activation
            joined = part(joined)
        out: Tensor = self.conv2(joined)
        for conv in self.convs:
            out = conv(out)
        return out


def _unit(inplanes: int, planes: int, size: int, stride: int = 1) -> ConvUnit:
    pad = size // 2
    conv = nn.Conv3d(inplanes, planes, (1, size, size), (1, stride, stride), (0, pad, pad), bias=False)
    return ConvUnit(conv, act=nn.ReLU(inplace=True))
