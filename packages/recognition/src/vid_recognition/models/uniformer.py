"""UniFormer: convolutions look at neighbours in the first two stages, attention at all patches in the last two.

Paper: UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning, arXiv:2201.04676.
Shapes: N clips; a grid (T, H, W) of patches; C channels; input (N, 3, 2T, 4H, 4W), output (N, 512, T, H/8, W/8). The
number of frames is halved once, by the first embedding.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone
from vidcore.nn import Attention, DropPath, Mlp, PatchEmbed, drop_path_rates, init_transformer, require

__all__ = ["UniFormer"]

EPS = 1e-6
"""Epsilon of the layer norms inside blocks."""


def position_encoding(dim: int) -> nn.Conv3d:
    """Return the dynamic position encoding, a depth-wise convolution (section 3.4, eq. 2)."""
    return nn.Conv3d(dim, dim, 3, padding=1, groups=dim)


class Embed(PatchEmbed):
    """A convolution that halves or quarters the resolution, and a layer norm: (N, C', *grid) -> (N, C, *grid')."""

    def __init__(self, in_channels: int, dim: int, first: bool) -> None:
        kernel, stride, padding = ((3, 4, 4), (2, 4, 4), (1, 0, 0)) if first else ((1, 2, 2), (1, 2, 2), (0, 0, 0))
        super().__init__(in_channels, dim, kernel, stride, padding, name="proj")
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(super().forward(x)).movedim(-1, 1)


class ConvMlp(nn.Module):
    """An MLP on channels, as two 1 x 1 x 1 convolutions with a GELU between them."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(dim, hidden, 1)
        self.fc2 = nn.Conv3d(hidden, dim, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.dropout(torch.nn.functional.gelu(self.fc1(x)))
        return self.dropout(self.fc2(hidden))


class LocalBlock(nn.Module):
    """Local relation aggregator (section 3.2): the affinity of neighbours is a learned 5 x 5 x 5 kernel."""

    def __init__(self, dim: int, mlp_ratio: float, dropout: float, drop: float) -> None:
        super().__init__()
        self.pos_embed = position_encoding(dim)
        self.norm1 = nn.BatchNorm3d(dim)
        self.conv1 = nn.Conv3d(dim, dim, 1)
        self.conv2 = nn.Conv3d(dim, dim, 1)
        self.attn = nn.Conv3d(dim, dim, 5, padding=2, groups=dim)
        self.drop_path = DropPath(drop)
        self.norm2 = nn.BatchNorm3d(dim)
        self.mlp = ConvMlp(dim, int(dim * mlp_ratio), dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *grid) -> the same."""
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class GlobalBlock(nn.Module):
    """Global relation aggregator (section 3.3): attention over all patches of the clip."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        qk_scale: float | None,
        dropout: float,
        attn_dropout: float,
        drop: float,
    ) -> None:
        super().__init__()
        self.pos_embed = position_encoding(dim)
        self.norm1 = nn.LayerNorm(dim, EPS)
        self.attn = Attention(dim, num_heads, "qkv" if qkv_bias else "none", qk_scale, attn_dropout, dropout)
        self.drop_path = DropPath(drop)
        self.norm2 = nn.LayerNorm(dim, EPS)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), dropout=dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, *grid) -> the same."""
        grid = x.shape[2:]
        tokens = (x + self.pos_embed(x)).flatten(2).transpose(1, 2)
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        out: Tensor = tokens.transpose(1, 2).unflatten(2, grid)
        return out


class UniFormer(Backbone):
    """UniFormer (arXiv:2201.04676, table 1); default: UniFormer-B.

    Args:
        depth: blocks of the four stages.
        in_chans: channels of a frame.
        embed_dim: channels of the four stages.
        head_dim: channels of an attention head.
        mlp_ratio: ratio of hidden to outer channels of an MLP.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor on the products of queries and keys; default: 1 / sqrt(head_dim).
        drop_rate: dropout after the embedding, the attention and the layers of an MLP.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth: probability of skipping the last block, growing linearly from 0 at the first.
        frozen_stages, with_cp: see ``Backbone``; the stem is the first embedding, each other belongs to its stage.

    ``forward``: (N, in_chans, T, H, W) -> (N, C, T / 2, H / 32, W / 32).
    """

    def __init__(
        self,
        depth: tuple[int, int, int, int] = (5, 8, 20, 7),
        in_chans: int = 3,
        embed_dim: tuple[int, int, int, int] = (64, 128, 320, 512),
        head_dim: int = 64,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        with_cp: bool = False,
    ) -> None:
        super().__init__(4, (3,), frozen_stages, False, with_cp)
        for width in embed_dim[2:]:
            require(width % head_dim == 0, f"embed_dim must be multiples of head_dim in the last stages; got {width}")
        self.pos_drop = nn.Dropout(drop_rate)
        rates = iter(drop_path_rates(drop_path_rate, sum(depth)))
        before = in_chans
        for i, (width, blocks) in enumerate(zip(embed_dim, depth, strict=True)):
            self.add_module(f"patch_embed{i + 1}", Embed(before, width, first=i == 0))
            stage: list[nn.Module] = []
            for _ in range(blocks):
                if i < 2:
                    stage.append(LocalBlock(width, mlp_ratio, drop_rate, next(rates)))
                    continue
                heads = width // head_dim
                stage.append(
                    GlobalBlock(width, heads, mlp_ratio, qkv_bias, qk_scale, drop_rate, attn_drop_rate, next(rates))
                )
            self.add_module(f"blocks{i + 1}", nn.Sequential(*stage))
            before = width
        self.norm = nn.BatchNorm3d(before)
        init_transformer(self)
        self.freeze()

    @property
    def stages(self) -> list[nn.Module]:
        return [self.get_submodule(f"blocks{i + 1}") for i in range(4)]

    def embed(self, stage: int) -> nn.Module:
        """Return the embedding before a stage (from 0)."""
        return self.get_submodule(f"patch_embed{stage + 1}")

    def freezable(self) -> list[list[nn.Module]]:
        first, *later = self.stages
        return [[self.embed(0)], [first], *([self.embed(i), stage] for i, stage in enumerate(later, 1))]

    def stem(self, x: Tensor) -> Tensor:
        return self.pos_drop(self.embed(0)(x))

    def after_stage(self, index: int, x: Tensor) -> Tensor:
        return self.norm(x) if index == 3 else self.embed(index + 1)(x)
