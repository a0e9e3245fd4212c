"""TANet: a ResNet on frames whose blocks mix neighbouring frames with kernels that depend on the video.

Paper: TAM: Temporal Adaptive Module for Video Recognition, arXiv:2005.06803.
Shapes: N videos, T frames of each, C channels, H height, W width; input (N * T, 3, H, W),
output (N * T, 2048, H/32, W/32).
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_recognition.models.resnet import Bottleneck, ResNet
from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["AdaptiveModule", "TANet", "TemporalAdaptive"]


@frozen
class TemporalAdaptive:
    """Options of the temporal adaptive modules.

    Args:
        alpha: width of the hidden layer of the global branch, in frames of a clip.
        beta: channels of the input, divided by those of the hidden layer of the local branch.
        adaptive_kernel_size: frames that a kernel spans, an odd number.
        conv1d_kernel_size: frames that the local branch looks at, an odd number.
        init_std: standard deviation of the initial weights of the global branch.
    """

    alpha: int = 2
    beta: int = 4
    adaptive_kernel_size: int = 3
    conv1d_kernel_size: int = 3
    init_std: float = 0.001


class AdaptiveModule(nn.Module):
    """A global branch makes a kernel for each channel of a video, a local branch weights each frame (section 3.2)."""

    def __init__(self, channels: int, frames: int, options: TemporalAdaptive) -> None:
        super().__init__()
        hidden, size, window = options.alpha * frames, options.adaptive_kernel_size, options.conv1d_kernel_size
        self.frames = frames
        self.G = nn.Sequential(  # the names of published weights
            nn.Linear(frames, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, size, bias=False),
            nn.Softmax(-1),
        )
        self.L = nn.Sequential(
            nn.Conv1d(channels, channels // options.beta, window, padding=window // 2, bias=False),
            nn.BatchNorm1d(channels // options.beta),
            nn.ReLU(inplace=True),
            nn.Conv1d(channels // options.beta, channels, 1, bias=False),
            nn.Sigmoid(),
        )
        for layer in self.G:
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=options.init_std)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] % self.frames:
            raise UserError(
                f"{x.shape[0]} frames do not divide into clips of {self.frames}: TANet.num_segments and num_clips of"
                " the pipeline must match"
            )
        x = x.unflatten(0, (-1, self.frames)).transpose(1, 2)  # (N, C, T, H, W)
        pooled = x.mean((3, 4))
        kernels = self.G(pooled.flatten(0, 1))  # (N * C, size)
        weighted = (x * self.L(pooled)[..., None, None]).flatten(3)
        rows = weighted.flatten(0, 1)[None]  # (1, N * C, T, H * W): each channel of each video is a group
        size = kernels.shape[1]
        out = F.conv2d(rows, kernels[:, None, :, None], padding=(size // 2, 0), groups=len(kernels))
        return out.view(x.shape).transpose(1, 2).flatten(0, 1)


class _Block(nn.Module):
    """A bottleneck with the module after its first convolution."""

    def __init__(self, block: Bottleneck, frames: int, options: TemporalAdaptive) -> None:
        super().__init__()
        self.block = block
        self.tam = AdaptiveModule(block.conv1.conv.out_channels, frames, options)

    def forward(self, x: Tensor) -> Tensor:
        block = self.block
        shortcut = x if block.downsample is None else block.downsample(x)
        return block.relu(block.conv3(block.conv2(self.tam(block.conv1(x)))) + shortcut)


class TANet(ResNet):
    """TANet (section 3.3): temporal adaptive modules in all bottlenecks.

    Args:
        depth: 50, 101 or 152.
        num_segments: frames of a clip; must match the head and ``num_clips`` of the pipeline.
        tam_cfg: options of the modules.

    and the arguments of ``ResNet``. ``forward``: (N * num_segments, C, H, W) -> (N * num_segments, C', H', W').
    """

    def __init__(
        self,
        depth: int,
        num_segments: int,
        tam_cfg: TemporalAdaptive = TemporalAdaptive(),
        **kwargs: Any,
    ) -> None:
        super().__init__(depth, **kwargs)
        require(depth >= 50, f"TANet.depth must be 50, 101 or 152, whose blocks are bottlenecks, got {depth}")
        for layer in self.stages:
            assert isinstance(layer, nn.Sequential)
            for j, block in enumerate(layer):
                assert isinstance(block, Bottleneck)
                layer[j] = _Block(block, num_segments, tam_cfg)
        self.freeze()
