"""Positions: tables of sinusoids, rotary positions, resizing of learned tables to more or fewer patches and frames."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcore.errors import CheckpointError
from vidcore.nn.parts import require

__all__ = [
    "PositionTables",
    "guess_grid",
    "resize_positions",
    "resize_tables",
    "rotary_angles",
    "rotate",
    "sinusoids",
]


class PositionTables(nn.Module):
    """Base class of modules with learned tables of positions, which can be resized for clips of a different size."""

    position_tables: ClassVar[tuple[str, ...]]
    """Names of the parameters; some may be missing."""

    def resize_table(self, name: str, table: Tensor) -> Tensor:
        """Return a table of other weights in the size of the parameter ``name``.

        Raises:
            CheckpointError: it cannot be told for which size it was made.
        """
        raise NotImplementedError


def resize_tables(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Resize the tables of positions in weights to those of a model.

    Args:
        model: whose modules may be ``PositionTables``.
        weights: with the keys of the model, of its backbone alone, or, for a backbone, of a whole model.

    Returns:
        The tables that have a different size in the weights, resized, by their keys in the weights.

    Raises:
        CheckpointError: it cannot be told for which size a table was made; the message begins with its key.
    """
    resized = {}
    for prefix, module in model.named_modules():
        if not isinstance(module, PositionTables):
            continue
        for name, own in module.named_parameters(recurse=False):
            full = f"{prefix}.{name}" if prefix else name
            keys = (full, full.removeprefix("backbone."), f"backbone.{full}")  # of a backbone alone, or a whole model
            key = next((key for key in keys if key in weights), None)
            if name not in module.position_tables or key is None or weights[key].shape == own.shape:
                continue
            try:
                resized[key] = module.resize_table(name, weights[key])
            except CheckpointError as error:
                raise CheckpointError(f"{key}: {error}") from None
    return resized


def guess_grid(rows: int, own: Sequence[int]) -> tuple[int, int, int]:
    """Return the grid (T, H, W) of a table with that many rows: one that shares as much as possible with ``own``.

    It has the same frames and is square, or the same height and width, or is that of a square image.

    Raises:
        CheckpointError: there is none.
    """
    frames, height, width = _three(own)
    side = math.isqrt(rows // frames)
    if side * side * frames == rows:
        return frames, side, side
    if rows % (height * width) == 0:
        return rows // (height * width), height, width
    if (side := math.isqrt(rows)) ** 2 == rows:
        return 1, side, side
    raise CheckpointError(f"has {rows} positions, which do not form a grid like {' x '.join(map(str, own))}")


def sinusoids(length: int, dim: int) -> Tensor:
    """Return the position embedding of arXiv:1706.03762 (section 3.5): (length, dim), float32.

    Even channels hold sin(p / 10000^(c / dim)), odd channels the cosine for the even channel c before them.
    """
    channel = torch.arange(dim, dtype=torch.float64) // 2 * 2
    angle = torch.arange(length, dtype=torch.float64)[:, None] / 10000 ** (channel / dim)
    even = torch.arange(dim) % 2 == 0
    return torch.where(even, angle.sin(), angle.cos()).float()


def rotary_angles(grid: Sequence[int], dim: int, base: float = 10_000.0, prefix: int = 0) -> Tensor:
    """Return the angles of axial rotary positions (RoFormer, arXiv:2104.09864, eq. 15; axes as in arXiv:2403.13298).

    Each axis has an equal share of the pairs of channels: pair j of the J pairs of an axis turns by the position along
    it, times base^(-j / J). Channels that are left over do not turn.

    Args:
        grid: number of patches along each axis: (T,), (H, W) or (T, H, W).
        dim: channels of a head; at least two for each axis.
        base: of the frequencies.
        prefix: tokens before the patches, such as a class token, which do not turn.

    Returns:
        (prefix + L, pairs) float32; L patches, row by row, frame by frame.
    """
    pairs = dim // (2 * len(grid))
    require(pairs > 0, f"a head needs {2 * len(grid)} channels for {len(grid)} axes of positions, got {dim}")
    frequencies = base ** (-torch.arange(pairs, dtype=torch.float64) / pairs)
    axes = torch.meshgrid(*(torch.arange(length) for length in grid), indexing="ij")
    positions = torch.stack(axes, -1).flatten(0, -2)  # L, axes
    angles = (positions[:, :, None] * frequencies).flatten(1)
    return torch.cat((angles.new_zeros(prefix, angles.shape[1]), angles)).float()


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate pairs of neighbouring channels of queries or keys.

    Args:
        x: (..., L, C).
        angles: (L, pairs), see ``rotary_angles``; 2 * pairs is at most C, and later channels stay.

    Returns:
        (..., L, C) of the same dtype.
    """
    turned, kept = x.split((2 * angles.shape[1], x.shape[-1] - 2 * angles.shape[1]), -1)
    first, second = turned.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = angles.cos(), angles.sin()
    pairs = torch.stack((first * cos - second * sin, first * sin + second * cos), -1)
    return torch.cat((pairs.flatten(-2).to(x.dtype), kept), -1)


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
