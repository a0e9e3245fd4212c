"""MobileOne on frames: parallel branches for training, fused into one convolution for deployment.

Papers: MobileOne: An Improved One millisecond Mobile Backbone, arXiv:2206.04040, figure 3 and tables 2 and 3;
TSM, arXiv:1811.08383.
Shapes: N frames, C channels, H height, W width; input (N, 3, H, W), output (N, 2048, H/32, W/32) for s4.
What differs: nothing; with temporal shift, each block shifts.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone, init_conv_net
from vid_recognition.models.resnet_tsm import TemporalShift
from vidcore.nn import require

__all__ = ["MobileOne", "MobileOneTSM"]

Arch = Literal["s0", "s1", "s2", "s3", "s4"]
CHANNELS, BLOCKS = (64, 128, 256, 512), (2, 8, 10, 1)
WIDTHS: dict[str, tuple[float, float, float, float]] = {
    "s0": (0.75, 1.0, 1.0, 2.0),
    "s1": (1.5, 1.5, 2.0, 2.5),
    "s2": (1.5, 2.0, 2.5, 4.0),
    "s3": (2.0, 2.5, 3.0, 4.0),
    "s4": (3.0, 3.5, 3.5, 4.0),
}
BN_EPS = 1e-5
CONV_BRANCHES = {"s0": 4}
"""Parallel convolutions per block; default: 1."""
SQUEEZED = {"s4": (0, 0, 5, 1)}
"""Number of blocks with squeeze and excitation at the end of each stage; default: none."""


class SqueezeExcite(nn.Module):
    """Squeeze and excitation: channel weights from all channels (arXiv:1709.01507)."""

    def __init__(self, channels: int, ratio: int = 16) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, channels // ratio, 1)))
        self.conv2 = nn.Sequential(OrderedDict(conv=nn.Conv2d(channels // ratio, channels, 1)))

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1)
        return x * torch.sigmoid(self.conv2(torch.relu(self.conv1(pooled))))


class MobileOneBlock(nn.Module):
    """The sum of convolutions, a 1x1 convolution and the input, each with batch norm; or one equal convolution."""

    def __init__(
        self,
        inplanes: int,
        planes: int,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        branches: int = 1,
        squeeze: bool = False,
        deploy: bool = False,
    ) -> None:
        super().__init__()
        self.shape = (inplanes, planes, kernel, stride, groups)
        self.se = SqueezeExcite(planes) if squeeze else nn.Identity()
        self.branch_reparam = self._conv(kernel, bias=True) if deploy else None
        if deploy:
            return
        self.branch_norm = nn.BatchNorm2d(inplanes) if stride == 1 and inplanes == planes else None
        self.branch_scale = _normalised(self._conv(1)) if kernel > 1 else None
        self.branch_conv_list = nn.ModuleList(_normalised(self._conv(kernel)) for _ in range(branches))

    def _conv(self, kernel: int, bias: bool = False) -> nn.Conv2d:
        inplanes, planes, _, stride, groups = self.shape
        return nn.Conv2d(inplanes, planes, kernel, stride, padding=kernel // 2, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        if self.branch_reparam is not None:
            return torch.relu(self.se(self.branch_reparam(x)))
        # the order matters: over many layers, the rounding of a different order shows in the reference numbers
        branches = [self.branch_norm, self.branch_scale, *self.branch_conv_list]
        return torch.relu(self.se(reduce(torch.add, [branch(x) for branch in branches if branch is not None])))

    def switch_to_deploy(self) -> None:
        """Replace the branches by one convolution with the same output in evaluation mode."""
        if self.branch_reparam is not None:
            return
        fused = _fuse({k: v for k, v in self.state_dict().items() if k.startswith("branch_")}, self.shape[2])
        conv = self._conv(self.shape[2], bias=True).to(fused["weight"])
        conv.load_state_dict(fused)
        del self.branch_norm, self.branch_scale, self.branch_conv_list
        self.branch_reparam = conv

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Fuse weights of the training form if this block is deployed."""
        if self.branch_reparam is not None and f"{prefix}branch_reparam.weight" not in state_dict:
            branches = [k for k in state_dict if k.startswith(f"{prefix}branch_")]
            fused = _fuse({k.removeprefix(prefix): state_dict.pop(k) for k in branches}, self.shape[2])
            state_dict |= {f"{prefix}branch_reparam.{k}": v for k, v in fused.items()}
        super()._load_from_state_dict(state_dict, prefix, *args)


def _normalised(conv: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(conv.out_channels)))


def _fuse(branches: Mapping[str, Tensor], kernel: int) -> dict[str, Tensor]:
    """Return weight and bias of the convolution that equals the sum of the branches (section 3.2)."""
    convs = {k.removesuffix("conv.weight"): v for k, v in branches.items() if k.endswith("conv.weight")}
    out = {"weight": torch.zeros(()), "bias": torch.zeros(())}
    for norm in [k.removesuffix("running_var") for k in branches if k.endswith("running_var")]:
        factor = branches[f"{norm}weight"] / torch.sqrt(branches[f"{norm}running_var"] + BN_EPS)
        weight = convs.get(norm.removesuffix("norm."))
        if weight is None:  # the identity branch, as a 1x1 convolution
            width = next(iter(convs.values())).shape[1]
            weight = torch.eye(width).repeat(len(factor) // width, 1)[:, :, None, None].to(factor)
        weight = F.pad(weight, [(kernel - weight.shape[-1]) // 2] * 4)
        out["weight"] = out["weight"].to(factor) + weight * factor[:, None, None, None]
        out["bias"] = out["bias"].to(factor) + branches[f"{norm}bias"] - branches[f"{norm}running_mean"] * factor
    return out


class MobileOne(Backbone):
    """MobileOne (arXiv:2206.04040).

    Args:
        arch: size, ``s0`` to ``s4``.
        in_channels: channels of a frame.
        out_indices: stages (from 0) whose outputs are returned.
        frozen_stages, norm_eval, with_cp: see ``Backbone``.
        deploy: build one convolution per block; weights of the training form are fused when loaded.

    ``forward``: (N, in_channels, H, W) -> (N, C, H', W'), or a tuple of these for multiple ``out_indices``.
    """

    def __init__(
        self,
        arch: Arch = "s0",
        in_channels: int = 3,
        out_indices: Sequence[int] = (3,),
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        deploy: bool = False,
    ) -> None:
        super().__init__(len(BLOCKS), out_indices, frozen_stages, norm_eval, with_cp)
        require(arch in WIDTHS, f"arch must be one of {', '.join(WIDTHS)}, got {arch!r}")
        widths = [int(c * w) for c, w in zip(CHANNELS, WIDTHS[arch], strict=True)]
        branches, squeezed = CONV_BRANCHES.get(arch, 1), SQUEEZED.get(arch, (0, 0, 0, 0))
        planes = min(64, widths[0])
        self.stage0: nn.Module = MobileOneBlock(in_channels, planes, 3, stride=2, deploy=deploy)
        for i, (width, blocks) in enumerate(zip(widths, BLOCKS, strict=True)):
            stage = nn.Sequential()
            for j in range(blocks):
                squeeze = j >= blocks - squeezed[i]
                stride = 2 if j == 0 else 1
                stage.append(MobileOneBlock(planes, planes, 3, stride, planes, branches, squeeze, deploy))
                stage.append(MobileOneBlock(planes, width, 1, 1, 1, branches, squeeze, deploy))
                planes = width
            self.add_module(f"stage{i + 1}", stage)
        init_conv_net(self)
        self.freeze()

    @property
    def stages(self) -> list[nn.Module]:
        return [self.get_submodule(f"stage{i + 1}") for i in range(self.num_stages)]

    def freezable(self) -> list[list[nn.Module]]:
        return [[self.stage0], *([stage] for stage in self.stages)]

    def stem(self, x: Tensor) -> Tensor:
        return self.stage0(x)

    def switch_to_deploy(self) -> None:
        """Fuse the branches of each block for faster inference; the network should not be trained afterwards."""
        for module in list(self.modules()):
            if isinstance(module, MobileOneBlock):
                module.switch_to_deploy()


class MobileOneTSM(MobileOne):
    """MobileOne with temporal shift.

    Args:
        arch: size, ``s0`` to ``s4``.
        num_segments: frames of a clip; must match the head and ``num_clips`` of the pipeline.
        is_shift: shift channels.
        shift_div: 2 / shift_div of the channels are shifted.

    and the arguments of ``MobileOne``. ``forward``: (N * num_segments, C, H, W) -> (N * num_segments, C', H', W').
    """

    def __init__(
        self,
        arch: Arch = "s0",
        num_segments: int = 8,
        is_shift: bool = True,
        shift_div: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(arch, **kwargs)
        if not is_shift:
            return
        self.stage0 = TemporalShift(self.stage0, num_segments, shift_div)
        for stage in self.stages:
            assert isinstance(stage, nn.Sequential)
            for j, block in enumerate(stage):
                stage[j] = TemporalShift(block, num_segments, shift_div)
