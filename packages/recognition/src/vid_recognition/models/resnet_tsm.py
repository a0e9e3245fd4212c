"""Temporal shift module: a 2D ResNet whose blocks exchange channels with adjacent frames.

Paper: TSM: Temporal Shift Module for Efficient Video Understanding, arXiv:1811.08383.
Shapes: N clips, S segments (frames of a clip), C channels, H height, W width; input (N * S, 3, H, W),
frames of a clip consecutive, output (N * S, 2048, H/32, W/32).
What differs: ResNet-101 and deeper networks shift in every second block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.models.layers import per_block
from vid_recognition.models.non_local import NonLocal
from vid_recognition.models.resnet import ResNet
from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["ResNetTSM", "TemporalShift", "temporal_shift"]


def temporal_shift(x: Tensor, num_segments: int, shift_div: int = 8) -> Tensor:
    """Shift 1/shift_div of the channels one frame backward and as many one frame forward; zeros at the ends.

    Args:
        x: (N * num_segments, C, H, W).
        num_segments: frames of a clip.
        shift_div: the first C // shift_div channels come from the next frame, as many from the previous frame.

    Raises:
        UserError: the number of frames is not a multiple of ``num_segments``.

    >>> frames = torch.tensor([[1, 10, 100], [2, 20, 200]])[:, :, None, None]  # two frames, three channels
    >>> temporal_shift(frames, num_segments=2, shift_div=3).squeeze().tolist()
    [[2, 0, 100], [0, 10, 200]]
    """
    if x.shape[0] % num_segments:
        raise UserError(f"{x.shape[0]} frames do not divide into clips of {num_segments} segments: see num_segments")
    fold = x.shape[1] // shift_div
    back = x[:, :fold].roll(-1, 0)
    ahead = x[:, fold : 2 * fold].roll(1, 0)
    back.unflatten(0, (-1, num_segments))[:, -1] = 0
    ahead.unflatten(0, (-1, num_segments))[:, 0] = 0
    return torch.cat((back, ahead, x[:, 2 * fold :]), dim=1)


class TemporalShift(nn.Module):
    """Shifts the channels of the input of a module."""

    def __init__(self, net: nn.Module, num_segments: int, shift_div: int = 8) -> None:
        super().__init__()
        require(num_segments > 0, f"num_segments must be positive, got {num_segments}")
        require(shift_div > 1, f"shift_div must be at least 2, got {shift_div}: two parts of the channels are shifted")
        self.net = net
        self.num_segments = num_segments
        self.shift_div = shift_div

    def forward(self, x: Tensor) -> Tensor:
        return self.net(temporal_shift(x, self.num_segments, self.shift_div))


class _WithNonLocal(nn.Module):
    """A block on frames followed by a non-local block on clips."""

    def __init__(self, block: nn.Module, channels: int, num_segments: int, options: NonLocal) -> None:
        super().__init__()
        self.block = block
        self.non_local_block = options.block(channels)
        self.num_segments = num_segments

    def forward(self, x: Tensor) -> Tensor:
        clips = self.block(x).unflatten(0, (-1, self.num_segments)).transpose(1, 2)
        out: Tensor = self.non_local_block(clips)
        return out.transpose(1, 2).flatten(0, 1)


class _TemporalPool(nn.Module):
    """Halves the number of frames before a stage: max pooling over three frames, stride 2."""

    def __init__(self, net: nn.Module, num_segments: int) -> None:
        super().__init__()
        self.net = net
        self.num_segments = num_segments

    def forward(self, x: Tensor) -> Tensor:
        clips = x.unflatten(0, (-1, self.num_segments)).transpose(1, 2)
        pooled = F.max_pool3d(clips, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
        return self.net(pooled.transpose(1, 2).flatten(0, 1))


class ResNetTSM(ResNet):
    """ResNet with temporal shift.

    Args:
        depth: 18, 34, 50, 101 or 152.
        num_segments: frames of a clip; must match the head and ``num_clips`` of the pipeline.
        is_shift: shift channels; false makes the network a ResNet on frames.
        shift_div: 2 / shift_div of the channels are shifted.
        shift_place: ``blockres`` shifts inside the residual branch, ``block`` before the block (section 4.1).
        temporal_pool: halve the number of frames before the second stage.
        non_local: for each stage, 0 or 1 or a list with one number per block: 1 adds a non-local block after the block.
        non_local_cfg: options of the non-local blocks.

    and the arguments of ``ResNet``. ``forward``: (N * num_segments, C, H, W) -> (N * num_segments, C', H', W').
    """

    def __init__(
        self,
        depth: int,
        num_segments: int = 8,
        is_shift: bool = True,
        shift_div: int = 8,
        shift_place: Literal["blockres", "block"] = "blockres",
        temporal_pool: bool = False,
        non_local: Sequence[int | Sequence[int]] = (0, 0, 0, 0),
        non_local_cfg: NonLocal = NonLocal(),  # noqa: B008 - immutable
        **kwargs: Any,
    ) -> None:
        super().__init__(depth, **kwargs)
        require(not temporal_pool or num_segments % 2 == 0, f"temporal_pool halves num_segments, got {num_segments}")
        self.num_segments = num_segments // 2 if temporal_pool else num_segments
        attentions = per_block(non_local, self.stage_blocks, "non_local")
        interval = 2 if shift_place == "blockres" and max(self.stage_blocks) >= 23 else 1
        for i, layer in enumerate(self.stages):
            assert isinstance(layer, nn.Sequential)
            segments = num_segments // 2 if temporal_pool and i > 0 else num_segments
            for j, block in enumerate(layer):
                if is_shift and shift_place == "block":
                    block = TemporalShift(block, segments, shift_div)
                elif is_shift and j % interval == 0:
                    conv1 = block.get_submodule("conv1")
                    conv1.conv = TemporalShift(conv1.get_submodule("conv"), segments, shift_div)
                if attentions[i][j]:
                    block = _WithNonLocal(block, self.channels[i], segments, non_local_cfg)
                layer[j] = block
            if temporal_pool and i == 1:
                self.layer2 = _TemporalPool(layer, num_segments)
        self.freeze()
