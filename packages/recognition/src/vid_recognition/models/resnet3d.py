"""ResNet on clips: a 2D ResNet inflated to three dimensions.

Paper: Quo Vadis, Action Recognition? arXiv:1705.07750 (I3D, inflation);
Non-local Neural Networks, arXiv:1711.07971 (its ResNet form and sparse 3x1x1 kernels).
Shapes: N clips, C channels, T frames, H height, W width; input (N, 3, T, H, W), output (N, C', T', H/32, W/32).
What differs: temporal kernels (``inflate``), strides and non-local blocks are arguments, so that one class
is I3D, SlowOnly, either pathway of SlowFast and skeleton networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from attrs import frozen
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone, ConvUnit, check_channels, init_conv_net, per_block
from vid_recognition.models.non_local import NonLocal, NonLocalBlock
from vidcore.nn import JoinedNetwork, require

__all__ = ["DEPTHS", "BlockOptions", "Bottleneck3d", "ResNet3d", "ResNet3dSlowOnly", "conv_unit"]

Style = Literal["pytorch", "caffe"]
InflateStyle = Literal["3x1x1", "3x3x3"]
Triple = tuple[int, int, int]


def conv_unit(
    inplanes: int,
    planes: int,
    kernel: Triple,
    stride: Triple = (1, 1, 1),
    dilation: int = 1,
    relu: bool = True,
    groups: int = 1,
    eps: float = 1e-5,
) -> nn.Module:
    """Return a convolution that keeps the size up to its stride, dilated in space only; ``eps`` is of batch norm."""
    time, *space = ((k - 1) // 2 for k in kernel)
    padding = (time, dilation * space[0], dilation * space[1])
    conv = nn.Conv3d(inplanes, planes, kernel, stride, padding, (1, dilation, dilation), groups, bias=False)
    return ConvUnit(conv, eps=eps, act=nn.ReLU(inplace=True) if relu else None)


@frozen
class BlockOptions:
    """Options of a block, except channels; a basic block ignores ``style`` and ``inflate_style``."""

    stride: Triple
    dilation: int
    style: Style
    inflate: int
    inflate_style: InflateStyle
    conv_unit: Callable[..., nn.Module]


class _Block(nn.Module):
    """Base of both blocks: the shortcut and the non-local block at the end."""

    expansion: int
    last: str
    """Name of the last unit of the residual branch."""

    def __init__(self, downsample: nn.Module | None, non_local: nn.Module | None) -> None:
        super().__init__()
        self.downsample = downsample
        self.non_local_block = non_local
        self.relu = nn.ReLU(inplace=True)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.branch(x) + shortcut)
        return x if self.non_local_block is None else self.non_local_block(x)


class BasicBlock3d(_Block):
    """Two 3x3 convolutions (3x3x3 if inflated) and a shortcut."""

    expansion = 1
    last = "conv2"

    def __init__(
        self,
        inplanes: int,
        planes: int,
        options: BlockOptions,
        downsample: nn.Module | None,
        non_local: nn.Module | None,
    ) -> None:
        super().__init__(downsample, non_local)
        kernel = (3, 3, 3) if options.inflate else (1, 3, 3)
        self.conv1 = options.conv_unit(inplanes, planes, kernel, options.stride, options.dilation)
        self.conv2 = options.conv_unit(planes, planes, kernel, relu=False)

    def branch(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class Bottleneck3d(_Block):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; the first (3x1x1) or the second (3x3x3) may be inflated."""

    expansion = 4
    last = "conv3"

    def __init__(
        self,
        inplanes: int,
        planes: int,
        options: BlockOptions,
        downsample: nn.Module | None,
        non_local: nn.Module | None,
    ) -> None:
        super().__init__(downsample, non_local)
        one: Triple = (1, 1, 1)
        first, second = (one, options.stride) if options.style == "pytorch" else (options.stride, one)
        long, wide = (options.inflate and options.inflate_style == style for style in ("3x1x1", "3x3x3"))
        self.conv1 = options.conv_unit(inplanes, planes, (3, 1, 1) if long else one, first)
        self.conv2 = options.conv_unit(planes, planes, (3, 3, 3) if wide else (1, 3, 3), second, options.dilation)
        self.conv3 = options.conv_unit(planes, planes * self.expansion, one, relu=False)

    def branch(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x)))


DEPTHS: Mapping[int, tuple[type[BasicBlock3d] | type[Bottleneck3d], tuple[int, int, int, int]]] = {
    18: (BasicBlock3d, (2, 2, 2, 2)),
    34: (BasicBlock3d, (3, 4, 6, 3)),
    50: (Bottleneck3d, (3, 4, 6, 3)),
    101: (Bottleneck3d, (3, 4, 23, 3)),
    152: (Bottleneck3d, (3, 8, 36, 3)),
}


class ResNet3d(Backbone, JoinedNetwork):
    """3D ResNet (I3D with ResNet blocks).

    Args:
        depth: 18, 34, 50, 101 or 152.
        stage_blocks: blocks per stage; default: those of ``depth``.
        in_channels: channels of a frame.
        num_stages: number of stages, at most four.
        base_channels: channels after the stem; each stage doubles them.
        out_indices: stages (from 0) whose outputs are returned.
        spatial_strides: stride of each stage in height and width.
        temporal_strides: stride of each stage in time.
        dilations: dilation of the 3x3 convolutions of each stage, in height and width.
        conv1_kernel: kernel of the stem (time, height, width).
        conv1_stride_s: stride of the stem in height and width.
        conv1_stride_t: stride of the stem in time.
        pool1_stride_s: stride of the pooling after the stem, in height and width.
        pool1_stride_t: stride of that pooling in time.
        with_pool1: pool after the stem.
        with_pool2: halve the number of frames after the first stage by max pooling.
        style: convolution that has the stride of a bottleneck: ``pytorch`` the 3x3, ``caffe`` the first 1x1.
        inflate: for each stage, 0 or 1 or a list with one number per block: 1 gives the block a temporal kernel.
        inflate_style: kernel of an inflated bottleneck: ``3x1x1`` in the first or ``3x3x3`` in the second convolution.
        non_local: for each stage, 0 or 1 or a list with one number per block: 1 ends the block with a non-local block.
        non_local_cfg: options of the non-local blocks.
        zero_init_residual: new blocks start as the identity (arXiv:1706.02677, section 5.1).
        lateral_channels: channels that another pathway adds to the input of each stage.
        frozen_stages, norm_eval, with_cp: see ``Backbone``.

    ``forward``: (N, in_channels, T, H, W) -> (N, C, T', H', W'), or a tuple of these for multiple ``out_indices``.
    """

    any_activation = True
    depths: Mapping[int, tuple[Any, tuple[int, int, int, int]]] = DEPTHS
    """Block and number of blocks of each stage, by depth."""
    conv_unit: ClassVar[Callable[..., nn.Module]] = staticmethod(conv_unit)
    """Makes all convolutions."""

    def __init__(
        self,
        depth: int = 50,
        stage_blocks: Sequence[int] | None = None,
        in_channels: int = 3,
        num_stages: int = 4,
        base_channels: int = 64,
        out_indices: Sequence[int] = (3,),
        spatial_strides: Sequence[int] = (1, 2, 2, 2),
        temporal_strides: Sequence[int] = (1, 1, 1, 1),
        dilations: Sequence[int] = (1, 1, 1, 1),
        conv1_kernel: tuple[int, int, int] = (3, 7, 7),
        conv1_stride_s: int = 2,
        conv1_stride_t: int = 1,
        pool1_stride_s: int = 2,
        pool1_stride_t: int = 1,
        with_pool1: bool = True,
        with_pool2: bool = True,
        style: Style = "pytorch",
        frozen_stages: int = -1,
        inflate: Sequence[int | Sequence[int]] = (1, 1, 1, 1),
        inflate_style: InflateStyle = "3x1x1",
        norm_eval: bool = False,
        with_cp: bool = False,
        non_local: Sequence[int | Sequence[int]] = (0, 0, 0, 0),
        non_local_cfg: NonLocal = NonLocal(),  # noqa: B008 - immutable
        zero_init_residual: bool = True,
        lateral_channels: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        super().__init__(num_stages, out_indices, frozen_stages, norm_eval, with_cp)
        require(depth in self.depths, f"depth must be one of {sorted(self.depths)}, got {depth}")
        require(1 <= num_stages <= 4, f"num_stages must be 1 to 4, got {num_stages}")
        for name, given in (
            ("spatial_strides", spatial_strides),
            ("temporal_strides", temporal_strides),
            ("dilations", dilations),
        ):
            require(len(given) >= num_stages, f"{name} needs one entry for each of {num_stages} stages, got {given}")
        block, depths = self.depths[depth]
        self.stage_blocks = tuple(stage_blocks or depths)[:num_stages]
        require(len(self.stage_blocks) == num_stages, f"stage_blocks must have {num_stages} entries")
        self.channels = [base_channels * 2**i * block.expansion for i in range(num_stages)]
        self.in_channels = in_channels
        self.lateral_channels = tuple(lateral_channels)[:num_stages]

        stem_stride = (conv1_stride_t, conv1_stride_s, conv1_stride_s)
        self.conv1 = self.conv_unit(in_channels, base_channels, conv1_kernel, stem_stride)
        pool_stride = (pool1_stride_t, pool1_stride_s, pool1_stride_s)
        self.maxpool = nn.MaxPool3d((1, 3, 3), pool_stride, padding=(0, 1, 1)) if with_pool1 else nn.Identity()
        self.pool2 = nn.MaxPool3d((2, 1, 1), (2, 1, 1)) if with_pool2 else nn.Identity()

        inflations = per_block(inflate, self.stage_blocks, "inflate")
        attentions = per_block(non_local, self.stage_blocks, "non_local")
        inplanes = base_channels
        for i, channels in enumerate(self.channels):
            planes = channels // block.expansion
            inplanes += lateral_channels[i]
            layers = []
            for j in range(self.stage_blocks[i]):
                space, time = (spatial_strides[i], temporal_strides[i]) if j == 0 else (1, 1)
                stride = (time, space, space)
                shortcut = None
                if max(stride) > 1 or inplanes != channels:
                    shortcut = self.conv_unit(inplanes, channels, (1, 1, 1), stride, relu=False)
                attention = non_local_cfg.block(channels) if attentions[i][j] else None
                options = BlockOptions(stride, dilations[i], style, inflations[i][j], inflate_style, self.conv_unit)
                layers.append(block(inplanes, planes, options, shortcut, attention))
                inplanes = channels
            self.add_module(f"layer{i + 1}", nn.Sequential(*layers))
        self.init_weights(zero_init_residual)
        self.freeze()

    def init_weights(self, zero_init_residual: bool) -> None:
        """Initialise convolutions as He et al.; with ``zero_init_residual``, blocks as the identity."""
        init_conv_net(self)
        for module in self.modules():
            if isinstance(module, _Block) and zero_init_residual:
                nn.init.zeros_(module.get_submodule(f"{module.last}.bn").weight)  # type: ignore[arg-type]
            elif isinstance(module, NonLocalBlock):
                module.init_weights()

    def joined_weights(self, state_dict: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Keep random values in lateral connections, and where the first block of a stage reads their channels."""
        joined: dict[str, Tensor] = {}
        lines = []
        for name, lateral in self.named_children():
            own = {f"{name}.{key}": value for key, value in lateral.state_dict().items()}
            if name.endswith("_lateral") and not own.keys() & state_dict.keys():
                joined |= own
                lines.append(f"{name} is missing from the file")
        for key, added in self.lateral_inputs().items():
            mine, found = self.get_parameter(key).detach(), state_dict.get(key)
            if found is None or found.ndim != mine.ndim or found.shape[1] != mine.shape[1] - added:
                continue
            joined[key] = torch.cat((found.to(mine), mine[:, -added:]), 1)
            lines.append(f"{key} has {found.shape[1]} of its {mine.shape[1]} input channels from the file")
        return joined, lines

    def lateral_inputs(self) -> dict[str, int]:
        """Return the names of the weights that read lateral connections, and how many channels of these."""
        names = [
            (f"layer{i + 1}.0.{unit}.conv.weight", added)
            for i, added in enumerate(self.lateral_channels)
            if added
            for unit in ("conv1", "downsample")
        ]
        own = dict(self.named_parameters())
        return {name: added for name, added in names if name in own}

    def stem(self, x: Tensor) -> Tensor:
        check_channels(x, self.in_channels)
        return self.maxpool(self.conv1(x))

    def after_stage(self, index: int, x: Tensor) -> Tensor:
        return self.pool2(x) if index == 0 else x


class ResNet3dSlowOnly(ResNet3d):
    """The slow pathway of SlowFast alone (arXiv:1812.03982, table 1): few frames, temporal kernels in late stages.

    Takes the arguments of ``ResNet3d``, with different defaults.
    """

    def __init__(
        self,
        conv1_kernel: tuple[int, int, int] = (1, 7, 7),
        inflate: Sequence[int | Sequence[int]] = (0, 0, 1, 1),
        with_pool2: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(conv1_kernel=conv1_kernel, inflate=inflate, with_pool2=with_pool2, **kwargs)
