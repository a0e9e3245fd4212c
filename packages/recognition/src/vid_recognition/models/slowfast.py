"""SlowFast: a slow pathway for appearance, a lightweight fast pathway for motion.

Paper: SlowFast Networks for Video Recognition, arXiv:1812.03982, section 3 and table 1.
Shapes: N clips, C channels, T frames, H height, W width; input (N, 3, T, H, W); output a tuple
(N, 2048, T / resample_rate, H/32, W/32), (N, 256, T * speed_ratio / resample_rate, H/32, W/32).
What differs: lateral connections are time-strided convolutions; ``lateral_norm`` adds batch norm and
ReLU to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import fields, frozen
from torch import Tensor, nn

from vid_recognition.models.layers import ConvUnit, init_conv_net
from vid_recognition.models.resnet3d import ResNet3d
from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["FastPathway", "Pathway", "ResNet3dSlowFast", "SlowPathway"]


@frozen(kw_only=True)
class Pathway:
    """Options of both pathways; see the arguments of ``ResNet3d``."""

    depth: int = 50
    stage_blocks: Sequence[int] | None = None
    in_channels: int = 3
    base_channels: int = 64
    conv1_kernel: tuple[int, int, int] = (3, 7, 7)
    conv1_stride_t: int = 1
    pool1_stride_t: int = 1
    spatial_strides: Sequence[int] = (1, 2, 2, 2)
    temporal_strides: Sequence[int] = (1, 1, 1, 1)
    dilations: Sequence[int] = (1, 1, 1, 1)
    inflate: Sequence[int | Sequence[int]] = (1, 1, 1, 1)
    frozen_stages: int = -1
    norm_eval: bool = False
    with_cp: bool = False
    zero_init_residual: bool = True

    def network(self, lateral_channels: Sequence[int] = (0, 0, 0, 0)) -> ResNet3d:
        """Build the network of the pathway."""
        options: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(Pathway)}
        return ResNet3d(**options, with_pool2=False, lateral_channels=lateral_channels)


@frozen(kw_only=True)
class SlowPathway(Pathway):
    """Options of the slow pathway: few frames, many channels, and the features of the fast pathway."""

    conv1_kernel: tuple[int, int, int] = (1, 7, 7)
    inflate: Sequence[int | Sequence[int]] = (0, 0, 1, 1)
    lateral: bool = True
    """Concatenate the features of the fast pathway before each stage."""
    lateral_norm: bool = False
    """Batch norm and ReLU in the lateral connections."""
    fusion_kernel: int = 5
    """Temporal kernel of the lateral connections."""


@frozen(kw_only=True)
class FastPathway(Pathway):
    """Options of the fast pathway: many frames, few channels."""

    base_channels: int = 8
    conv1_kernel: tuple[int, int, int] = (5, 7, 7)


class ResNet3dSlowFast(nn.Module):
    """Two 3D ResNets at two frame rates.

    Args:
        resample_rate: frame stride of the slow pathway (tau).
        speed_ratio: ratio of the frame rates of both pathways (alpha).
        slow_pathway: options of the slow pathway.
        fast_pathway: options of the fast pathway.

    ``forward``: (N, C, T, H, W) -> slow and fast features.
    """

    def __init__(
        self,
        resample_rate: int = 8,
        speed_ratio: int = 8,
        slow_pathway: SlowPathway = SlowPathway(),
        fast_pathway: FastPathway = FastPathway(),
    ) -> None:
        super().__init__()
        require(
            min(resample_rate, speed_ratio) > 0 and resample_rate % speed_ratio == 0,
            f"resample_rate ({resample_rate}) must be a multiple of speed_ratio ({speed_ratio})",
        )
        self.resample_rate = resample_rate
        self.fast_rate = resample_rate // speed_ratio
        self.fast_path = fast_pathway.network()
        fast_channels = [fast_pathway.base_channels, *self.fast_path.channels[:-1]]
        self.lateral = slow_pathway.lateral
        self.slow_path = slow_pathway.network([2 * c for c in fast_channels] if self.lateral else (0, 0, 0, 0))
        if self.lateral:
            for i, channels in enumerate(fast_channels):
                name = f"layer{i}_lateral" if i else "conv1_lateral"
                lateral = _lateral(channels, slow_pathway, speed_ratio)
                if i <= slow_pathway.frozen_stages:
                    lateral.requires_grad_(False)
                self.slow_path.add_module(name, lateral)

    def train(self, mode: bool = True) -> ResNet3dSlowFast:
        super().train(mode)
        for lateral in self._laterals():
            if not lateral.conv.weight.requires_grad:
                lateral.eval()
        return self

    def _laterals(self) -> list[ConvUnit]:
        modules = self.slow_path.named_children()
        return [m for name, m in modules if name.endswith("_lateral") and isinstance(m, ConvUnit)]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        frames = x.shape[2]
        if frames < self.resample_rate:
            raise UserError(f"SlowFast needs at least {self.resample_rate} frames (resample_rate), got {frames}")
        if self.lateral and frames % self.resample_rate >= self.fast_rate:  # lateral connections would not match
            raise UserError(f"SlowFast needs a multiple of {self.resample_rate} frames (resample_rate), got {frames}")
        slow = self.slow_path.stem(_subsample(x, self.resample_rate))
        fast = self.fast_path.stem(_subsample(x, self.fast_rate))
        laterals = self._laterals()
        for i, (slow_stage, fast_stage) in enumerate(zip(self.slow_path.stages, self.fast_path.stages, strict=True)):
            if self.lateral:
                slow = torch.cat((slow, laterals[i](fast)), dim=1)
            slow = self.slow_path.run_stage(slow_stage, slow)
            fast = self.fast_path.run_stage(fast_stage, fast)
        return slow, fast


def _lateral(channels: int, options: SlowPathway, speed_ratio: int) -> ConvUnit:
    """Map fast features to the frame rate of the slow pathway, with twice the channels (section 3.4)."""
    kernel, stride = (options.fusion_kernel, 1, 1), (speed_ratio, 1, 1)
    padding = ((options.fusion_kernel - 1) // 2, 0, 0)
    conv = nn.Conv3d(channels, 2 * channels, kernel, stride, padding, bias=False)
    norm = options.lateral_norm
    unit = ConvUnit(conv, norm=norm, act=nn.ReLU(inplace=True) if norm else None)
    init_conv_net(unit)
    return unit


def _subsample(x: Tensor, rate: int) -> Tensor:
    """Return every ``rate``-th frame; an incomplete step at the end is dropped."""
    return x[:, :, : x.shape[2] // rate * rate : rate]
