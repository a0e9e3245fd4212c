"""Swin transformer on frames.

Paper: Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, arXiv:2103.14030.
Shapes: N frames, H height, W width in patches, C channels, w window size, h heads; input (N, 3, 4H, 4W),
output (N, 8C, H/8, W/8).
What differs: frames whose size is not a multiple of the window are padded inside each block.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone
from vidcore.nn import DropPath, require

__all__ = ["SwinTransformer"]

LAYER = re.compile(r"layers\.(\d+)\.(?:blocks\.(\d+)\.|downsample\.)")
DOWNSAMPLE = re.compile(r"layers\.(\d+)\.downsample\.")


def _split_windows(x: Tensor, size: int) -> Tensor:
    """Split into windows: (N, H, W, C) -> (N * windows, size * size, C)."""
    x = x.unflatten(2, (-1, size)).unflatten(1, (-1, size))  # N, H/w, w, W/w, w, C
    windows: Tensor = x.transpose(2, 3).flatten(3, 4).flatten(0, 2)
    return windows


def _merge_windows(windows: Tensor, size: int, height: int, width: int) -> Tensor:
    """The inverse of ``_split_windows``."""
    x = windows.unflatten(1, (size, size)).unflatten(0, (-1, height // size, width // size))
    merged: Tensor = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return merged


class WindowAttention(nn.Module):
    """Attention inside windows, with a learned relative position bias (section 3.2, eq. 4)."""

    relative_position_index: Tensor

    def __init__(self, dim: int, window_size: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window_size - 1) ** 2, num_heads))
        position = torch.cartesian_prod(torch.arange(window_size), torch.arange(window_size))
        offset = position[:, None] - position[None] + window_size - 1
        index = offset[..., 0] * (2 * window_size - 1) + offset[..., 1]
        self.register_buffer("relative_position_index", index, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(N * windows, w * w, C) -> the same; ``mask`` (windows, w * w, w * w) is added to the attention scores."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        products = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
        products = products + self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            products = (products.unflatten(0, (-1, mask.shape[0])) + mask[:, None]).flatten(0, 1)
        return self.proj((products.softmax(-1) @ value).transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class SwinBlock(nn.Module):
    """Attention in windows, shifted by half a window in every second block, and an MLP (figure 3b)."""

    def __init__(self, dim: int, num_heads: int, window_size: int, shift: bool, mlp_ratio: float, drop: float) -> None:
        super().__init__()
        self.window_size = window_size
        self.shift = window_size // 2 if shift else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, window_size, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attend(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))  # type: ignore[no-any-return]

    def attend(self, x: Tensor) -> Tensor:
        """Attention in (shifted) windows: (N, H, W, C) -> the same."""
        size, (height, width) = self.window_size, x.shape[1:3]
        shift = self.shift if min(height, width) > size else 0
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        padded = x.shape[1:3]
        mask = None
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
            mask = _shift_mask(padded[0], padded[1], size, shift, x)
        x = _merge_windows(self.attn(_split_windows(x, size), mask), size, *padded)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :height, :width]


def _shift_mask(height: int, width: int, size: int, shift: int, like: Tensor) -> Tensor:
    """Return -100 between positions that are adjacent only because of the roll (figure 4): (windows, w * w, w * w)."""

    def region(length: int) -> Tensor:
        """0 in all windows but the last, 1 and 2 in the two parts of the last one."""
        position = torch.arange(length, device=like.device)
        return (position >= length - size).int() + (position >= length - shift).int()

    regions = 3 * region(height)[:, None] + region(width)
    flat = _split_windows(regions[None, :, :, None], size)[..., 0]
    return (flat[:, :, None] != flat[:, None, :]).to(like.dtype) * -100.0


class PatchMerging(nn.Module):
    """Halves height and width, doubles channels: a linear layer on 2x2 neighbours (section 3.1)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        corners = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, -1)))  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Blocks of one resolution, and the patch merging after them."""

    def __init__(
        self, dim: int, num_heads: int, window_size: int, mlp_ratio: float, drops: Sequence[float], last: bool
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(SwinBlock(dim, num_heads, window_size, j % 2 == 1, mlp_ratio, drop) for j, drop in enumerate(drops))
        )
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x: Tensor, run: Callable[[nn.Module, Tensor], Tensor]) -> Tensor:
        x = run(self.blocks, x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbed(nn.Module):
    """Linear embedding of patches: (N, 3, H, W) -> (N, H/p, W/p, C)."""

    def __init__(self, in_channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, dim, patch_size, patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).permute(0, 2, 3, 1))  # type: ignore[no-any-return]


class SwinTransformer(Backbone):
    """Swin transformer (arXiv:2103.14030); default: Swin-B.

    Args:
        embed_dim: channels of the first stage.
        depths: blocks per stage.
        num_heads: attention heads of each stage.
        window_size: side of a window, in patches.
        mlp_ratio: ratio of hidden to outer channels of an MLP.
        patch_size: side of a patch, in pixels.
        in_channels: channels of a frame.
        drop_path_rate: stochastic depth: probability of skipping the last block, growing linearly from 0 at the first.
        frozen_stages, with_cp: see ``Backbone``; the stem is the patch embedding.

    ``forward``: (N, in_channels, H, W) -> (N, C, H', W').
    """

    def __init__(
        self,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        patch_size: int = 4,
        in_channels: int = 3,
        drop_path_rate: float = 0.1,
        frozen_stages: int = -1,
        with_cp: bool = False,
    ) -> None:
        super().__init__(len(depths), (len(depths) - 1,), frozen_stages, False, with_cp)
        require(len(depths) == len(num_heads), "depths and num_heads must have one entry for each stage")
        self.depths = tuple(depths)
        self.patch_embed = PatchEmbed(in_channels, embed_dim, patch_size)
        drops = torch.linspace(0, drop_path_rate, sum(depths), device="cpu").split(list(depths))
        self.layers = nn.ModuleList(
            Stage(embed_dim * 2**i, heads, window_size, mlp_ratio, drop.tolist(), i == len(depths) - 1)
            for i, (heads, drop) in enumerate(zip(num_heads, drops, strict=True))
        )
        self.norm = nn.LayerNorm(embed_dim * 2 ** (len(depths) - 1))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.freeze()

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

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        for stage in self.layers:
            x = stage(x, self.run_stage)
        return self.norm(x).permute(0, 3, 1, 2)  # type: ignore[no-any-return]

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of an image network under the names of this one.

        Newer image libraries number a patch merging by the stage after it; this class, by the stage before.
        """
        last = f"layers.{len(self.layers) - 1}.downsample."
        if any(last in key for key in state_dict):
            names = {k: DOWNSAMPLE.sub(lambda m: f"layers.{int(m[1]) - 1}.downsample.", k) for k in state_dict}
            state_dict = {names[k]: v for k, v in state_dict.items()}
        return super().convert_2d_weights(state_dict)
