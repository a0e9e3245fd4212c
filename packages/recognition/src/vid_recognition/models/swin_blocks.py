"""What Swin transformers on frames and on clips share: attention in windows, shifted in every second block.

Papers: Swin Transformer, arXiv:2103.14030; Video Swin Transformer, arXiv:2106.13230.
Shapes: N samples; a grid of patches, (H, W) of a frame or (T, H, W) of a clip; C channels, h heads; a window is a box
of P patches, a sample has W windows. Tokens are (N, *grid, C).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from math import prod

import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone
from vidcore.nn import (
    DropPath,
    Mlp,
    PatchEmbed,
    PositionTables,
    drop_path_rates,
    guess_grid,
    init_transformer,
    require,
    resize_positions,
    run_blocks,
)

__all__ = ["SwinBackbone", "SwinOptions", "Windows"]

LAYER = re.compile(r"layers\.(\d+)\.(?:blocks\.(\d+)\.|downsample\.)")
DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample\.")


@frozen
class SwinOptions:
    """What all blocks of a network have in common."""

    window_size: tuple[int, ...]
    """Patches of a window along each axis of the grid."""
    mlp_ratio: float = 4.0
    qkv_bias: bool = True
    qk_scale: float | None = None
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    bias_of_small_windows: str = "offset"
    """See ``relative_index``."""


def split_windows(x: Tensor, size: Sequence[int]) -> Tensor:
    """Split into windows: (N, *grid, C) -> (N * W, P, C)."""
    axes = len(size)
    for axis in range(axes, 0, -1):
        x = x.unflatten(axis, (-1, size[axis - 1]))  # in the end N, windows and size of each axis, C
    x = x.permute(0, *range(1, 2 * axes, 2), *range(2, 2 * axes + 1, 2), 2 * axes + 1)
    windows: Tensor = x.flatten(axes + 1, 2 * axes).flatten(0, axes)
    return windows


def merge_windows(windows: Tensor, size: Sequence[int], grid: Sequence[int]) -> Tensor:
    """The inverse of ``split_windows``: (N * W, P, C) -> (N, *grid, C)."""
    axes = len(size)
    counts = [length // part for length, part in zip(grid, size, strict=True)]
    x = windows.unflatten(1, tuple(size)).unflatten(0, (-1, *counts))
    x = x.permute(0, *(i for axis in range(1, axes + 1) for i in (axis, axis + axes)), 2 * axes + 1)
    merged: Tensor = x.reshape(x.shape[0], *grid, x.shape[-1])
    return merged


def relative_index(size: Sequence[int], full: Sequence[int], rule: str) -> Tensor:
    """Return the row of the bias table for each pair of patches of a window: (P, P) int64.

    Args:
        size: of the window.
        full: size of the windows that the table was made for.
        rule: for windows that are smaller: ``offset`` uses the rows of the same offsets in a full window, ``first``
            those of its first patches, as the published Video Swin networks do. They are the same if only the first
            axis is shorter.
    """
    if rule == "first":
        patches = prod(size)
        return relative_index(full, full, "offset")[:patches, :patches]
    position = torch.cartesian_prod(*(torch.arange(length) for length in size))
    offset = position[:, None] - position[None] + torch.tensor(full) - 1
    index = torch.zeros(len(position), len(position), dtype=torch.int64)
    for axis, length in enumerate(full):
        index = index * (2 * length - 1) + offset[..., axis]
    return index


def shift_mask(grid: Sequence[int], size: Sequence[int], shift: Sequence[int]) -> Tensor:
    """Return -100 between patches that are adjacent only because of the roll (figure 4): (W, P, P) float32."""
    regions = torch.zeros(1, *grid, 1)
    for axis, (length, part, rolled) in enumerate(zip(grid, size, shift, strict=True)):
        if rolled:  # 0 in all windows but the last, 1 and 2 in the two parts of the last one
            position = torch.arange(length)
            region = (position >= length - part).float() + (position >= length - rolled).float()
            regions = 3 * regions + region.view(-1, *[1] * (len(grid) - axis))
    flat = split_windows(regions, size)[..., 0]
    return (flat[:, :, None] != flat[:, None, :]).float() * -100.0


@frozen
class Windows:
    """How a grid is split into windows. An axis that is not longer than a window has one, which is not shifted."""

    size: tuple[int, ...]
    shift: tuple[int, ...]
    """All 0 if no window is shifted."""
    grid: tuple[int, ...]
    """The grid, padded to whole windows."""
    index: Tensor
    """See ``relative_index``."""
    mask: Tensor | None
    """See ``shift_mask``; None if no window is shifted."""

    @classmethod
    def of(cls, grid: Sequence[int], options: SwinOptions, shifted: bool, device: torch.device) -> Windows:
        """Split a grid."""
        full = options.window_size
        size = tuple(min(length, part) for length, part in zip(grid, full, strict=True))
        shift = tuple(part // 2 if shifted and length > part else 0 for length, part in zip(grid, full, strict=True))
        padded = tuple(length + -length % part for length, part in zip(grid, size, strict=True))
        with torch.inference_mode(False):  # may be remembered for training
            index = relative_index(size, full, options.bias_of_small_windows).to(device)
            mask = shift_mask(padded, size, shift).to(device) if any(shift) else None
        return cls(size, shift, padded, index, mask)


class WindowCache:
    """Remembers the windows of the last few sizes of clips, for all blocks of a stage."""

    LIMIT = 4

    def __init__(self, options: SwinOptions) -> None:
        self.options = options
        self.known: dict[tuple[object, ...], Windows] = {}

    def __call__(self, grid: Sequence[int], shifted: bool, device: torch.device) -> Windows:
        if torch.compiler.is_compiling():  # becomes a constant of the graph
            return Windows.of(grid, self.options, shifted, device)
        key = (*grid, shifted, device)
        if key not in self.known:
            if len(self.known) >= self.LIMIT:
                self.known.clear()
            self.known[key] = Windows.of(grid, self.options, shifted, device)
        return self.known[key]

    def __reduce__(self) -> tuple[object, ...]:
        return WindowCache, (self.options,)  # a copy of a network may be used on a different device


class WindowAttention(PositionTables):
    """Attention inside windows, with a learned relative position bias (section 3.2, eq. 4)."""

    position_tables = ("relative_position_bias_table",)

    def __init__(self, dim: int, num_heads: int, options: SwinOptions) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.sides = [2 * length - 1 for length in options.window_size]
        self.scale = options.qk_scale
        self.attn_drop_rate = options.attn_drop_rate
        self.relative_position_bias_table = nn.Parameter(torch.zeros(prod(self.sides), num_heads))
        self.qkv = nn.Linear(dim, 3 * dim, bias=options.qkv_bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(options.drop_rate)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, windows: Windows) -> Tensor:
        """(N * W, P, C) -> the same."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = self.relative_position_bias_table[windows.index].permute(2, 0, 1)  # (h, P, P)
        if windows.mask is not None:  # windows become heads: each has a bias of its own
            bias = (bias + windows.mask[:, None]).flatten(0, 1)
            query, key, value = (
                part.unflatten(0, (-1, len(windows.mask))).flatten(1, 2) for part in (query, key, value)
            )
        out = F.scaled_dot_product_attention(
            query,
            key,
            value,
            bias[None].to(query.dtype),
            dropout_p=self.attn_drop_rate if self.training else 0.0,
            scale=self.scale,
        )
        if windows.mask is not None:
            out = out.unflatten(1, (len(windows.mask), self.num_heads)).flatten(0, 1)
        return self.proj_drop(self.proj(out.transpose(1, 2).flatten(2)))

    def resize_table(self, name: str, table: Tensor) -> Tensor:
        """Interpolate the table of windows of a different size, or repeat that of windows of images over time."""
        grid = guess_grid(len(table), self.sides)
        return resize_positions(table, grid, (*[1] * (3 - len(self.sides)), *self.sides))


class SwinBlock(nn.Module):
    """Attention in windows, shifted by half a window in every second block, and an MLP (figure 3b)."""

    def __init__(self, dim: int, num_heads: int, shifted: bool, drop: float, cache: WindowCache) -> None:
        super().__init__()
        options = cache.options
        self.cache = cache
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, options)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * options.mlp_ratio), dropout=options.drop_rate)
        self.drop_path = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def attend(self, x: Tensor) -> Tensor:
        """Attention in (shifted) windows: (N, *grid, C) -> the same."""
        grid = x.shape[1:-1]
        windows = self.cache(grid, self.shifted, x.device)
        axes = tuple(range(1, len(grid) + 1))
        x = _pad(x, windows.grid)
        if windows.mask is not None:
            x = x.roll([-shift for shift in windows.shift], axes)
        x = merge_windows(self.attn(split_windows(x, windows.size), windows), windows.size, windows.grid)
        if windows.mask is not None:
            x = x.roll(windows.shift, axes)
        for axis, length in zip(axes, grid, strict=True):
            x = x.narrow(axis, 0, length)
        return x


def _pad(x: Tensor, grid: Sequence[int]) -> Tensor:
    """Append zeros along the axes of the grid: (N, *, C) -> (N, *grid, C)."""
    if tuple(x.shape[1:-1]) == tuple(grid):
        return x
    missing = [wanted - found for wanted, found in zip(grid, x.shape[1:-1], strict=True)]
    return F.pad(x, (0, 0, *(amount for ending in reversed(missing) for amount in (0, ending))))


class PatchMerging(nn.Module):
    """Halves height and width, doubles channels: a linear layer on 2 x 2 neighbours (section 3.1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        *rest, height, width = x.shape[1:-1]
        x = _pad(x, (*rest, height + height % 2, width + width % 2))
        corners = [x[..., row::2, column::2, :] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))


class SwinStage(nn.Module):
    """Blocks of one resolution, and the patch merging after them, except after the last stage."""

    def __init__(self, dim: int, num_heads: int, drops: Sequence[float], last: bool, options: SwinOptions) -> None:
        super().__init__()
        cache = WindowCache(options)
        self.blocks = nn.Sequential(*(SwinBlock(dim, num_heads, j % 2 == 1, d, cache) for j, d in enumerate(drops)))
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x: Tensor, with_cp: bool) -> tuple[Tensor, Tensor]:
        """Return the tokens before and after the patch merging."""
        x = run_blocks(self.blocks, x, with_cp=with_cp)
        return x, x if self.downsample is None else self.downsample(x)


class SwinEmbed(PatchEmbed):
    """Linear embedding of patches, and a layer norm: (N, C', *pixels) -> (N, *grid, C)."""

    def __init__(self, in_channels: int, dim: int, patch_size: Sequence[int], norm: bool) -> None:
        super().__init__(in_channels, dim, patch_size, name="proj")
        self.patch_size = tuple(patch_size)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        missing = [-length % part for length, part in zip(x.shape[2:], self.patch_size, strict=True)]
        if any(missing):
            x = F.pad(x, [amount for ending in reversed(missing) for amount in (0, ending)])
        return self.norm(super().forward(x))


class SwinBackbone(Backbone):
    """Patch embedding and stages; the base of ``SwinTransformer`` and ``SwinTransformer3D``.

    The stem that ``frozen_stages`` counts is the patch embedding.
    """

    def __init__(
        self,
        options: SwinOptions,
        *,
        embed_dim: int,
        depths: Sequence[int],
        num_heads: Sequence[int],
        patch_size: Sequence[int],
        in_channels: int,
        patch_norm: bool,
        drop_path_rate: float,
        out_indices: Sequence[int],
        frozen_stages: int,
        with_cp: bool,
    ) -> None:
        super().__init__(len(depths), out_indices, frozen_stages, False, with_cp)
        require(len(depths) == len(num_heads), "depths and num_heads must have one entry for each stage")
        self.depths = tuple(depths)
        self.widths = tuple(embed_dim * 2**i for i in range(len(depths)))
        for width, heads in zip(self.widths, num_heads, strict=True):
            require(width % heads == 0, f"num_heads must divide the channels; {heads} does not divide {width}")
        self.patch_embed = SwinEmbed(in_channels, embed_dim, patch_size, patch_norm)
        self.pos_drop = nn.Dropout(options.drop_rate)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.layers = nn.ModuleList(
            SwinStage(width, heads, [next(rates) for _ in range(depth)], i == len(depths) - 1, options)
            for i, (width, heads, depth) in enumerate(zip(self.widths, num_heads, depths, strict=True))
        )
        init_transformer(self)

    def freezable(self) -> list[list[nn.Module]]:
        return [[self.patch_embed], *([stage] for stage in self.layers)]

    def layer_of(self, name: str) -> int | None:
        """Return the layer of a parameter, for ``LayerDecayGroups``; a patch merging belongs to the block before it."""
        if name.startswith("patch_embed."):
            return 0
        if (found := LAYER.match(name)) is None:
            return None
        stage, block = int(found[1]), found[2]
        return sum(self.depths[:stage]) + (self.depths[stage] if block is None else int(block) + 1)

    def run_stages(self, x: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the tokens before and after the patch merging of each stage: (N, *grid, C)."""
        x = self.pos_drop(self.patch_embed(x))
        for stage in self.layers:
            before, x = stage(x, self.with_cp)
            yield before, x

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of an image network under the names of this one.

        Newer image libraries number a patch merging by the stage after it; this class, by the stage before.
        """
        last = f"layers.{len(self.layers) - 1}.downsample."
        if any(last in key for key in state_dict):
            names = {k: DOWNSAMPLE.sub(lambda m: f"layers.{int(m[1]) - 1}.downsample.", k) for k in state_dict}
            state_dict = {names[k]: v for k, v in state_dict.items()}
        return super().convert_2d_weights(state_dict)
