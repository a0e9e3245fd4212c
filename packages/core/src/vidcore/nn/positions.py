"""Position embeddings: tables of sinusoids, and resizing of learned tables to more or fewer patches and frames."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vidcore.nn.parts import require

__all__ = ["resize_positions", "sinusoids"]


def sinusoids(length: int, dim: int) -> Tensor:
    """Return the position embedding of arXiv:1706.03762 (section 3.5): (length, dim), float32.

    Even channels hold sin(p / 10000^(c / dim)), odd channels the cosine for the even channel c before them.
    """
    channel = torch.arange(dim, dtype=torch.float64) // 2 * 2
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10000 ** (channel / dim)
    even = torch.arange(dim) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos()).float()


def resize_positions(table: Tensor, old: Sequence[int], new: Sequence[int], prefix: int = 0) -> Tensor:
    """Interpolate the position embeddings of a grid of patches to another grid: bicubic in space, linear in time.

    Args:
        table: (..., prefix + L, C); L patches, row by row, frame by frame.
        old: the grid of the table, (H, W), (T,) or (T, H, W); the product is L.
        new: the grid wanted, with as many entries.
        prefix: tokens before the patches, as a class token; they stay as they are.

    Returns:
        (..., prefix + L', C) of the same dtype; the table itself if the grids are equal.
    """
    require(len(old) == len(new) in (1, 2, 3), f"grids must have one to three entries each, got {old} and {new}")
    require(
        table.shape[-2] == prefix + math.prod(old),
        f"a grid of {' x '.join(map(str, old))} after {prefix} tokens needs {prefix + math.prod(old)} positions, "
        f"the table has {table.shape[-2]}",
    )
    if tuple(old) == tuple(new):
        return table
    outer, dim = table.shape[:-2], table.shape[-1]
    kept, patches = table.split((prefix, math.prod(old)), -2)
    frames, height, width = _three(new)
    patches = patches.reshape(-1, *_three(old), dim).float()  # rows, T, H, W, C
    if patches.shape[2:4] != (height, width):
        images = patches.flatten(0, 1).movedim(-1, 1)
        images = F.interpolate(images, (height, width), mode="bicubic", align_corners=False)
        patches = images.movedim(1, -1).unflatten(0, (-1, patches.shape[1]))
    if patches.shape[1] != frames:
        lines = patches.flatten(2).transpose(1, 2)
        patches = F.interpolate(lines, frames, mode="linear", align_corners=False).transpose(1, 2)
    return torch.cat((kept, patches.reshape(*outer, -1, dim).to(table.dtype)), -2)


def _three(grid: Sequence[int]) -> tuple[int, int, int]:
    """Return a grid as (T, H, W)."""
    frames = 1 if len(grid) == 2 else grid[0]
    height, width = grid[-2:] if len(grid) > 1 else (1, 1)
    return frames, height, width
