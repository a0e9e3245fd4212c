"""Blocks of transformers: stochastic depth, MLP, attention, patch embedding.

Paper: An Image is Worth 16x16 Words, arXiv:2010.11929.
Shapes: N sequences, L tokens of each, C channels, h heads.
Networks with published weights give the layers of these blocks different names; where it matters, names are arguments.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcore.nn.parts import require
from vidcore.nn.positions import rotate

__all__ = [
    "Attention",
    "ClipBlock",
    "DropPath",
    "Mlp",
    "PackedAttention",
    "PatchEmbed",
    "QuickGELU",
    "attend",
    "drop_path_rates",
    "init_transformer",
    "layer_by_name",
]


class DropPath(nn.Module):
    """Stochastic depth: drops a residual branch for some samples of a training batch (arXiv:1603.09382).

    Args:
        rate: probability of dropping it; kept branches are scaled up to preserve the mean.

    ``forward``: (B, ...) -> the same shape and dtype.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if self.rate == 0 or not self.training:
            return x
        kept = torch.rand((x.shape[0], *[1] * (x.ndim - 1)), device=x.device) >= self.rate
        return x * kept / (1 - self.rate)


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Return the rate of each block, growing linearly from 0 at the first to ``last`` (arXiv:1603.09382, eq. 4).

    >>> drop_path_rates(0.2, 3)
    [0.0, 0.1, 0.2]
    """
    return [last * i / max(depth - 1, 1) for i in range(depth)]


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), the approximation of GELU that CLIP was trained with (arXiv:1606.08415, section 2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class Mlp(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        dim: channels of the input.
        hidden: channels between the layers.
        act: activation; default: GELU.
        dropout: probability of zeroing a hidden channel while training.
        out_dropout: probability of zeroing an output while training.
        names: names of both layers; dots make nested names, as in ``layers.0.0.weight``.
        out_dim: channels of the output; default: ``dim``.

    ``forward``: (..., dim) -> (..., out_dim).
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        act: nn.Module | None = None,
        dropout: float = 0.0,
        out_dropout: float = 0.0,
        names: tuple[str, str] = ("fc1", "fc2"),
        out_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.names = names
        _add_nested(self, names[0], nn.Linear(dim, hidden))
        _add_nested(self, names[1], nn.Linear(hidden, dim if out_dim is None else out_dim))
        self.act = nn.GELU() if act is None else act
        self.dropout, self.out_dropout = nn.Dropout(dropout), nn.Dropout(out_dropout)

    def forward(self, x: Tensor) -> Tensor:
        first, second = (self.get_submodule(name) for name in self.names)
        return self.out_dropout(second(self.dropout(self.act(first(x)))))


def _add_nested(module: nn.Module, name: str, layer: nn.Module) -> None:
    """Add a layer under a dotted name; parents that are missing become empty modules."""
    *parents, leaf = name.split(".")
    for parent in parents:
        if parent not in dict(module.named_children()):
            module.add_module(parent, nn.Module())
        module = module.get_submodule(parent)
    module.add_module(leaf, layer)


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    num_heads: int,
    *,
    scale: float | None = None,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    angles: Tensor | None = None,
) -> Tensor:
    """Multi-head attention by PyTorch's fused kernels (arXiv:1706.03762, section 3.2).

    Args:
        query: (N, L, C).
        key: (N, M, C).
        value: (N, M, C).
        num_heads: h; divides C.
        scale: factor on the products of queries and keys; default: (C / h) ** -0.5.
        mask: (N or 1, h or 1, L, M), added to the scaled products, or, if boolean, True for pairs that take part.
        dropout: probability of dropping a weight of the attention; the caller passes 0 outside of training.
        angles: (L, pairs) of rotary positions, see ``rotary_angles``; M is L.

    Returns:
        (N, L, C).
    """
    q, k, v = (tokens.unflatten(2, (num_heads, -1)).transpose(1, 2) for tokens in (query, key, value))
    if angles is not None:
        q, k = rotate(q, angles), rotate(k, angles)
    out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout, scale=scale)
    return out.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Self-attention with the names of image transformers: ``qkv`` and ``proj``.

    Args:
        dim: C.
        num_heads: h; divides C.
        bias: ``qkv``: ``qkv`` has a bias; ``qv``: queries and values have ones of their own, ``q_bias`` and ``v_bias``,
            keys have none (BEiT, arXiv:2106.08254); ``none``.
        scale: factor on the products of queries and keys; default: (C / h) ** -0.5.
        attn_dropout: probability of dropping a weight of the attention while training.
        proj_dropout: probability of zeroing an output while training.

    ``forward``: (N, L, C) -> the same.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        bias: Literal["qkv", "qv", "none"] = "qkv",
        scale: float | None = None,
        attn_dropout: float = 0.0,
        proj_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        require(dim % num_heads == 0, f"num_heads must divide the {dim} channels, got {num_heads}")
        self.num_heads, self.scale, self.attn_dropout = num_heads, scale, attn_dropout
        self.qkv = nn.Linear(dim, 3 * dim, bias=bias == "qkv")
        self.q_bias = nn.Parameter(torch.zeros(dim)) if bias == "qv" else None
        self.v_bias = nn.Parameter(torch.zeros(dim)) if bias == "qv" else None
        self.proj = nn.Linear(dim, dim)
        self.proj_dropout = nn.Dropout(proj_dropout)

    def forward(self, x: Tensor, angles: Tensor | None = None) -> Tensor:
        """``angles`` as for ``attend``."""
        bias: Tensor | None = self.qkv.bias
        if self.q_bias is not None and self.v_bias is not None:
            bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        query, key, value = F.linear(x, self.qkv.weight, bias).chunk(3, -1)
        dropout = self.attn_dropout if self.training else 0.0
        x = attend(query, key, value, self.num_heads, scale=self.scale, dropout=dropout, angles=angles)
        return self.proj_dropout(self.proj(x))


class PackedAttention(nn.Module):
    """Self- or cross-attention with the names of PyTorch's: ``in_proj_weight``, ``in_proj_bias`` and ``out_proj``.

    Args:
        dim: C.
        num_heads: h; divides C.
        attn_dropout: probability of dropping a weight of the attention while training.

    ``forward``: queries (N, L, C), and tokens (N, M, C) to look at (default: the queries) -> (N, L, C).
    """

    def __init__(self, dim: int, num_heads: int, attn_dropout: float = 0.0) -> None:
        super().__init__()
        require(dim % num_heads == 0, f"num_heads must divide the {dim} channels, got {num_heads}")
        self.num_heads, self.attn_dropout = num_heads, attn_dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self, x: Tensor, tokens: Tensor | None = None, mask: Tensor | None = None, angles: Tensor | None = None
    ) -> Tensor:
        """``mask`` and ``angles`` as for ``attend``."""
        if tokens is None:
            query, key, value = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, -1)
        else:
            dim = x.shape[-1]
            query = F.linear(x, self.in_proj_weight[:dim], self.in_proj_bias[:dim])
            key, value = F.linear(tokens, self.in_proj_weight[dim:], self.in_proj_bias[dim:]).chunk(2, -1)
        dropout = self.attn_dropout if self.training else 0.0
        out = attend(query, key, value, self.num_heads, mask=mask, dropout=dropout, angles=angles)
        return self.out_proj(out)


class ClipBlock(nn.Module):
    """A block of CLIP (arXiv:2103.00020): attention and an MLP, each after a layer norm and beside a shortcut.

    Args:
        dim: C.
        num_heads: h; divides C.
        mlp_ratio: hidden channels of the MLP, relative to C.
        drop_path: probability of dropping either branch while training.
        act: activation of the MLP; default: ``QuickGELU``.

    ``forward``: (N, L, C) -> the same.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        act: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attn = PackedAttention(dim, num_heads)
        self.ln_1 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act or QuickGELU(), names=("c_fc", "c_proj"))
        self.ln_2 = nn.LayerNorm(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, mask: Tensor | None = None, angles: Tensor | None = None) -> Tensor:
        """``mask`` and ``angles`` as for ``attend``."""
        x = x + self.drop_path(self.attn(self.ln_1(x), mask=mask, angles=angles))
        return x + self.drop_path(self.mlp(self.ln_2(x)))


class PatchEmbed(nn.Module):
    """Linear embedding of patches of frames, or of tubelets of clips.

    Args:
        in_channels: channels of a frame.
        dim: C.
        patch_size: (height, width), or (frames, height, width).
        stride: distance of two patches; default: ``patch_size``.
        padding: zeros around the input.
        name: name of the convolution.

    ``forward``: (N, in_channels, ..., H, W) -> (N, ..., H', W', C).
    """

    def __init__(
        self,
        in_channels: int,
        dim: int,
        patch_size: Sequence[int],
        stride: Sequence[int] | None = None,
        padding: Sequence[int] | int = 0,
        name: str = "projection",
    ) -> None:
        super().__init__()
        require(len(patch_size) in (2, 3), f"patch_size must have two or three entries, got {tuple(patch_size)}")
        kernel = tuple(patch_size)
        steps = kernel if stride is None else tuple(stride)
        zeros = (padding,) * len(kernel) if isinstance(padding, int) else tuple(padding)
        conv = nn.Conv2d if len(kernel) == 2 else nn.Conv3d
        self.name = name
        self.add_module(name, conv(in_channels, dim, kernel, steps, zeros))  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.get_submodule(self.name)(x)
        return out.movedim(1, -1)


def init_transformer(net: nn.Module) -> None:
    """Initialise linear layers with a truncated normal distribution (deviation 0.02), layer norms with ones."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)


def layer_by_name(name: str, embeddings: Sequence[str], blocks: str = "blocks") -> int | None:
    """Return the layer of a parameter, as ``vidcore.protocols.Layered`` defines it.

    Args:
        name: of the parameter.
        embeddings: beginnings of the names of what comes before the blocks, layer 0.
        blocks: name of the list of blocks; block i is layer i + 1.

    >>> [layer_by_name(name, ["pos_embed"]) for name in ("pos_embed", "blocks.3.norm.bias", "norm.bias")]
    [0, 4, None]
    """
    if name.startswith(tuple(embeddings)):
        return 0
    found = re.match(rf"{re.escape(blocks)}\.(\d+)\.", name)
    return None if found is None else int(found[1]) + 1
