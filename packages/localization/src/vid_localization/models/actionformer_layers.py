"""Layers of ActionFormer: convolution and attention over videos of different lengths in one batch.

Shapes: B samples, C channels, T positions. A sample may be shorter than T: ``valid`` (B, 1, T) bool marks its
positions. Positions after its end are 0 and never attended to, so that a sample gives the same result in every batch.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcore.nn import DropPath

__all__ = ["Attention", "Block", "ChannelNorm", "ConvStack", "masked", "sinusoids", "window_attention"]

LAYER_SCALE = 1e-4
"""Initial factor of residual branches."""


def masked(x: Tensor, valid: Tensor) -> Tensor:
    """Set positions after the end of each sample to zero."""
    return x * valid.to(x.dtype)


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of every position: (B, C, T) -> (B, C, T)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ConvStack(nn.Module):
    """Convolutions over three positions, each followed by normalization and ReLU.

    Args:
        widths: channels of the input and of each layer.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        self.convs = nn.ModuleList(nn.Conv1d(n, m, 3, padding=1, bias=False) for n, m in pairs)
        self.norms = nn.ModuleList(ChannelNorm(m) for _, m in pairs)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = masked(F.relu(norm(conv(x))), valid)
        return x


class Attention(nn.Module):
    """Multi-head attention whose queries, keys and values are convolved with their neighbours (section 3.2).

    Args:
        dim: channels.
        heads: number of heads.
        window: number of positions that a position attends to, itself in the middle; odd, or -1 for all.
        stride: stride of the convolutions.
    """

    def __init__(self, dim: int, heads: int, window: int, stride: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.near = nn.ModuleList(nn.Conv1d(dim, dim, 3, stride, padding=1, groups=dim, bias=False) for _ in range(3))
        self.norms = nn.ModuleList(ChannelNorm(dim) for _ in range(3))
        self.projections = nn.ModuleList(nn.Conv1d(dim, dim, 1) for _ in range(3))
        self.out = nn.Conv1d(dim, dim, 1)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """(B, C, T) and the valid positions of the output -> (B, C, T / stride), undefined after the end."""
        parts = zip(self.near, self.norms, self.projections, strict=True)
        q, k, v = (
            project(norm(masked(near(x), valid))).unflatten(1, (self.heads, -1)).transpose(2, 3)
            for near, norm, project in parts
        )
        if self.window < 0:
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, :, None])
        else:
            mixed = window_attention(q, k, v, valid, self.window)
        out: Tensor = self.out(mixed.transpose(2, 3).flatten(1, 2))
        return out


def window_attention(q: Tensor, k: Tensor, v: Tensor, valid: Tensor, window: int) -> Tensor:
    """Scaled dot-product attention of every position to those at most ``window // 2`` away.

    Queries are split into blocks, each of which attends to its own positions and half a window on both sides: memory
    grows with T * window.

    Args:
        q, k, v: (B, heads, T, D).
        valid: (B, 1, T) bool: keys that may be attended to. A position always attends to itself.
        window: an odd number.

    Returns:
        (B, heads, T, D).
    """
    length, half = q.shape[2], window // 2
    block = max(window - 1, 1)
    blocks = -(-length // block)
    fill = blocks * block - length

    def around(x: Tensor) -> Tensor:
        """(B, heads, T, ...) -> (B, heads, blocks, ..., block + 2 * half)."""
        ends = (0, 0) * (x.ndim - 3)
        return F.pad(x, (*ends, half, fill + half)).unfold(2, block + 2 * half, block)

    keys, values = (around(x).transpose(3, 4) for x in (k, v))
    queries = F.pad(q, (0, 0, 0, fill)).unflatten(2, (blocks, block))
    ahead = torch.arange(block + 2 * half, device=q.device) - torch.arange(block, device=q.device)[:, None] - half
    seen = (ahead.abs() <= half) & (around(valid)[..., None, :] | (ahead == 0))
    mixed = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
    return mixed.flatten(2, 3)[:, :, :length]


class Block(nn.Module):
    """A transformer block; a stride of 2 halves the number of positions.

    Args:
        dim: channels.
        heads, window: see ``Attention``.
        stride: 1 or 2.
        drop_path: probability of dropping a residual branch of a sample in training (arXiv:1603.09382).
        dropout: dropout rate after the projections of a branch.
    """

    def __init__(self, dim: int, heads: int, window: int, stride: int, drop_path: float, dropout: float) -> None:
        super().__init__()
        self.stride, self.drop_path = stride, DropPath(drop_path)
        self.norm1, self.norm2 = ChannelNorm(dim), ChannelNorm(dim)
        self.attention = Attention(dim, heads, window, stride)
        self.dropout = nn.Dropout(dropout)
        self.mlp = nn.Sequential(
            nn.Conv1d(dim, 4 * dim, 1), nn.GELU(), nn.Dropout(dropout), nn.Conv1d(4 * dim, dim, 1), nn.Dropout(dropout)
        )
        self.scale1, self.scale2 = (nn.Parameter(torch.full((dim,), LAYER_SCALE)) for _ in range(2))

    def forward(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, T) and its valid positions -> output and its valid positions."""
        below, valid_below = x, valid
        if self.stride > 1:
            valid = valid[:, :, :: self.stride]
            x = F.max_pool1d(x.masked_fill(~valid_below, -math.inf), 3, self.stride, padding=1)
            x = x.masked_fill(~valid, 0)
        mixed = self.dropout(self.attention(masked(self.norm1(below), valid_below), valid))
        x = masked(x + self.drop_path(mixed * self.scale1[:, None]), valid)
        x = masked(x + self.drop_path(self.mlp(self.norm2(x)) * self.scale2[:, None]), valid)
        return x, valid


def sinusoids(length: int, dim: int, device: torch.device) -> Tensor:
    """Sines and cosines of positions (arXiv:1706.03762, section 3.5), divided by sqrt(dim): (dim, length)."""
    rates = torch.exp(torch.arange(0, dim, 2, device=device) * (-math.log(10000.0) / dim))
    angles = rates[:, None] * torch.arange(length, device=device)
    return torch.stack((angles.sin(), angles.cos()), 1).flatten(0, 1)[:dim] / math.sqrt(dim)
