"""Temporal interlacing: a 2D ResNet whose blocks shift groups of channels along time, by learned distances.

Paper: Temporal Interlacing Network, arXiv:2001.06499.
Shapes: N clips, T frames of each, C channels, G groups, H height, W width; input (N * T, 3, H, W),
output (N * T, 2048, H/32, W/32).
What differs: distances lie in (-2, 2) and weights in (0, 2); half of the groups shift by the opposite distances.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vid_recognition.models.resnet import ResNet
from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["ResNetTIN", "TemporalInterlace", "interlace"]


def interlace(x: Tensor, distances: Tensor) -> Tensor:
    """Shift groups of channels along time, and interpolate between both neighbouring whole distances.

    Args:
        x: (N, T, C, H, W).
        distances: (N, G) frames; positive ones move a frame to a later time. Zeros come in at the ends.

    >>> interlace(torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1, 1), torch.tensor([[0.5]])).flatten().tolist()
    [0.5, 1.5, 2.5]
    """
    groups, times = distances.shape[1], torch.arange(x.shape[1], device=x.device)
    parts = x.unflatten(2, (groups, -1)).transpose(1, 2)  # (N, G, T, C / G, H, W)
    whole = distances.floor()
    fraction = (distances - whole).to(x.dtype)[:, :, None, None, None, None]

    def shifted(by: Tensor) -> Tensor:
        source = times - by.long()[..., None]  # (N, G, T)
        inside = ((source >= 0) & (source < len(times)))[:, :, :, None, None, None]
        index = source.clamp(0, len(times) - 1)[:, :, :, None, None, None].expand_as(parts)
        moved: Tensor = parts.gather(2, index) * inside
        return moved

    out: Tensor = shifted(whole) * (1 - fraction) + shifted(whole + 1) * fraction
    return out.transpose(1, 2).flatten(2, 3)


class OffsetNet(nn.Module):
    """Distances of the groups, from pooled features (section 3.2): (N, C, T) -> (N, 1, groups)."""

    def __init__(self, channels: int, groups: int, frames: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, 1, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(frames, frames), nn.Linear(frames, groups)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]
        nn.init.zeros_(self.fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu_(self.fc1(self.conv(x)))
        return 4 * (self.fc2(hidden).sigmoid() - 0.5)


class WeightNet(nn.Module):
    """Weights of the frames of each group, from pooled features: (N, C, T) -> (N, T, groups)."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, groups, 3, padding=1)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.conv(x).transpose(1, 2).sigmoid()


class TemporalInterlace(nn.Module):
    """Interlaces the first 1/shift_div of the channels; leaves the others.

    ``forward``: (N * num_segments, C, H, W) -> the same shape.
    """

    groups = 2
    """Groups with distances of their own; as many shift by the opposite distances."""

    def __init__(self, channels: int, num_segments: int, shift_div: int) -> None:
        super().__init__()
        self.num_segments, self.fold = num_segments, channels // shift_div
        self.offset_net = OffsetNet(self.fold, self.groups, num_segments)
        self.weight_net = WeightNet(self.fold, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] % self.num_segments:
            raise UserError(
                f"{x.shape[0]} frames do not divide into clips of {self.num_segments} segments: see num_segments"
            )
        clips = x[:, : self.fold].unflatten(0, (-1, self.num_segments))
        pooled = clips.mean((3, 4)).transpose(1, 2)
        distances, weights = self.offset_net(pooled)[:, 0], self.weight_net(pooled)
        moved = interlace(clips, torch.cat((distances, -distances), 1))
        weighted = moved.unflatten(2, (2 * self.groups, -1)) * weights.repeat(1, 1, 2)[..., None, None, None]
        return torch.cat((weighted.flatten(2, 3).flatten(0, 1), x[:, self.fold :]), 1)


class _Interlaced(nn.Module):
    """A convolution of an interlaced input."""

    def __init__(self, conv: nn.Conv2d, num_segments: int, shift_div: int) -> None:
        super().__init__()
        self.net1 = TemporalInterlace(conv.in_channels, num_segments, shift_div)
        self.net2 = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.net2(self.net1(x))


class ResNetTIN(ResNet):
    """ResNet with temporal interlacing before the first convolution of its blocks (section 3.4).

    Args:
        depth: 18, 34, 50, 101 or 152; in networks with a stage of 23 blocks or more, every second block interlaces.
        num_segments: frames of a clip; must match the head and ``num_clips`` of the pipeline.
        is_tin: interlace; false makes the network a ResNet on frames.
        shift_div: 1 / shift_div of the channels are interlaced.

    and the arguments of ``ResNet``. ``forward``: (N * num_segments, C, H, W) -> (N * num_segments, C', H', W').
    """

    def __init__(
        self, depth: int, num_segments: int = 8, is_tin: bool = True, shift_div: int = 8, **kwargs: Any
    ) -> None:
        super().__init__(depth, **kwargs)
        require(shift_div > 0, f"shift_div must be positive, got {shift_div}")
        interval = 2 if max(self.stage_blocks) >= 23 else 1
        for layer in self.stages if is_tin else ():
            assert isinstance(layer, nn.Sequential)
            for block in list(layer)[::interval]:
                conv1 = block.get_submodule("conv1")
                conv = conv1.get_submodule("conv")
                assert isinstance(conv, nn.Conv2d)
                conv1.conv = _Interlaced(conv, num_segments, shift_div)
        self.freeze()
