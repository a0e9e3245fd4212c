"""MViT: a transformer that pools queries, keys and values, so that resolution falls and channels grow with depth.

Paper: MViTv2: Improved Multiscale Vision Transformers for Classification and Detection, arXiv:2112.01526; the first
version is arXiv:2104.11227.
Shapes: N clips; a grid (T, H, W) of patches, L = T * H * W of them, plus one class token if there is one; C channels,
h heads, d channels of a head; input (N, 3, 2T, 4H, 4W), output (N, 8C, T, H/8, W/8) and the class token (N, 8C).
What differs: the product of queries and relative positions is part of the product of queries and keys (see
``PoolingAttention``), so that attention is fused and no matrix of position scores exists.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone
from vid_recognition.models.weights import of_backbone
from vidcore.nn import DropPath, Mlp, PatchEmbed, PositionTables, drop_path_rates, layer_by_name, require, run_blocks

__all__ = ["MViT", "MViTSize"]

Grid = tuple[int, int, int]
"""Patches along time, height and width."""


@frozen
class MViTSize:
    """Size of an MViT (table 1 of MViTv2)."""

    embed_dims: int
    """Channels of the first stage."""
    num_layers: int
    """Number of blocks."""
    num_heads: int
    """Attention heads of the first stage."""
    downscale_indices: Sequence[int]
    """Blocks (from 0) that begin a stage: they halve height and width."""


SIZES = {
    "tiny": MViTSize(96, 10, 1, (1, 3, 8)),
    "small": MViTSize(96, 16, 1, (1, 3, 14)),
    "base": MViTSize(96, 24, 1, (2, 5, 21)),
    "large": MViTSize(144, 48, 2, (2, 8, 44)),
}


@frozen
class PatchOptions:
    """The convolution that embeds patches; each entry is for time, height and width."""

    kernel_size: tuple[int, int, int] = (3, 7, 7)
    stride: tuple[int, int, int] = (2, 4, 4)
    padding: tuple[int, int, int] = (1, 3, 3)


@frozen
class AttentionOptions:
    """What all blocks of a network have in common."""

    pool_kernel: tuple[int, int, int]
    with_cls_token: bool
    rel_pos_embed: bool
    residual_pooling: bool
    rel_pos_zero_init: bool
    qkv_bias: bool
    mlp_ratio: float
    dim_mul_in_attention: bool
    eps: float


def pooled(grid: Grid, stride: Grid) -> Grid:
    """Return the grid after pooling with padding of half a kernel."""
    (time, height, width), (a, b, c) = grid, stride
    return -(-time // a), -(-height // b), -(-width // c)


def relative_positions(table: Tensor, queries: int, keys: int) -> Tensor:
    """Return the embedding of the distance between each query and key along one axis: (queries, keys, d).

    A table that was made for an axis of a different length is interpolated. Distances are measured on the finer of the
    two grids (section 4.1).
    """
    table = _resized(table, 2 * max(queries, keys) - 1)
    step_q, step_k = max(keys / queries, 1.0), max(queries / keys, 1.0)
    query, key = torch.arange(queries, device=table.device), torch.arange(keys, device=table.device)
    distance = query[:, None] * step_q - key * step_k + (keys - 1) * step_k
    return table[distance.long()]


def _resized(table: Tensor, rows: int) -> Tensor:
    """Interpolate a table of distances along an axis: (rows', d) -> (rows, d)."""
    return table if len(table) == rows else F.interpolate(table.T[None], size=rows, mode="linear")[0].T


class PoolingAttention(PositionTables):
    """Attention with pooled queries, keys and values, and decomposed relative positions (section 4.1, eq. 2 to 4).

    The score of query q and key k is q . k / sqrt(d) + q . (R_t[q, k] + R_h[q, k] + R_w[q, k]), one table per axis.
    q . R has one number for each position along an axis, so it is appended to the query, and a key has a one where its
    position is: one product of longer vectors has the whole score.

    Args:
        dim: channels of the input.
        out_dim: channels of queries, keys, values and the output.
        num_heads: heads.
        grid: of the input, which gives the lengths of the tables.
        stride_q: pooling of queries.
        stride_kv: pooling of keys and values.
        options: of the network.
    """

    position_tables = ("rel_pos_h", "rel_pos_w", "rel_pos_t")

    def __init__(
        self,
        dim: int,
        out_dim: int,
        num_heads: int,
        grid: Grid,
        stride_q: Grid,
        stride_kv: Grid,
        options: AttentionOptions,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.tokens = int(options.with_cls_token)  # in front of the patches
        self.residual_pooling = options.residual_pooling
        head = out_dim // num_heads
        if options.rel_pos_embed:
            sides = zip("thw", pooled(grid, stride_q), pooled(grid, stride_kv), strict=True)
            for axis, queries, keys in reversed(list(sides)):
                table = torch.zeros(2 * max(queries, keys) - 1, head)
                if not options.rel_pos_zero_init:
                    nn.init.trunc_normal_(table, std=0.02)
                self.register_parameter(f"rel_pos_{axis}", nn.Parameter(table))
        self.rel_pos_embed = options.rel_pos_embed
        self.qkv = nn.Linear(dim, 3 * out_dim, bias=options.qkv_bias)
        self.proj = nn.Linear(out_dim, out_dim)
        kernel = options.pool_kernel
        padding = (kernel[0] // 2, kernel[1] // 2, kernel[2] // 2)
        for name, stride in (("q", stride_q), ("k", stride_kv), ("v", stride_kv)):
            pool = nn.Conv3d(head, head, kernel, stride, padding, groups=head, bias=False)
            self.add_module(f"pool_{name}", pool)
            self.add_module(f"norm_{name}", nn.LayerNorm(head, options.eps))

    def forward(self, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """(N, L, C) -> (N, L', C') and the grid of the queries."""
        query, key, value = self.qkv(x).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        query, grid_q = self.pool("q", query, grid)
        key, grid_k = self.pool("k", key, grid)
        value, _ = self.pool("v", value, grid)
        scale = query.shape[-1] ** -0.5
        longer, marked = query * scale, key
        if self.rel_pos_embed:
            longer = torch.cat((longer, self.position_scores(query, grid_q, grid_k)), -1)
            marks = self.marks(grid_k, key)
            marked = torch.cat((key, marks.expand(*key.shape[:2], *marks.shape)), -1)
        missing = longer.shape[-1] - value.shape[-1]  # fused kernels need values of the same length
        out = F.scaled_dot_product_attention(longer, marked, F.pad(value, (0, missing)), scale=1.0)
        out = out[..., : value.shape[-1]]
        if self.residual_pooling:
            out = torch.cat((out[:, :, : self.tokens], out[:, :, self.tokens :] + query[:, :, self.tokens :]), 2)
        return self.proj(out.transpose(1, 2).flatten(2)), grid_q

    def pool(self, name: str, x: Tensor, grid: Grid) -> tuple[Tensor, Grid]:
        """Pool the patches of each head, and normalise: (N, h, L, d) -> (N, h, L', d) and their grid."""
        patches = x[:, :, self.tokens :].flatten(0, 1).transpose(1, 2).unflatten(2, grid)
        patches = self.get_submodule(f"pool_{name}")(patches)
        flat = patches.flatten(2).transpose(1, 2).unflatten(0, x.shape[:2])
        joined = torch.cat((x[:, :, : self.tokens], flat), 2)
        time, height, width = patches.shape[2:]
        return self.get_submodule(f"norm_{name}")(joined), (time, height, width)

    def position_scores(self, query: Tensor, grid_q: Grid, grid_k: Grid) -> Tensor:
        """Return q . R for each position of keys along each axis, 0 for a class token: (N, h, L, T + H + W)."""
        patches = query[:, :, self.tokens :].unflatten(2, grid_q)
        scores = []
        for axis, letter in enumerate("thw"):
            table = relative_positions(self.get_parameter(f"rel_pos_{letter}"), grid_q[axis], grid_k[axis])
            scores.append(torch.einsum(f"bythwc,{letter}kc->bythwk", patches, table.to(query.dtype)))
        return F.pad(torch.cat(scores, -1).flatten(2, 4), (0, 0, self.tokens, 0))

    def resize_table(self, name: str, table: Tensor) -> Tensor:
        """Interpolate the table of an axis of a different length."""
        return _resized(table, len(self.get_parameter(name)))

    def marks(self, grid: Grid, like: Tensor) -> Tensor:
        """Return 1 at the position of each key along each axis, 0 for a class token: (L, T + H + W)."""
        rows = []
        for axis, length in enumerate(grid):
            shape = [length if i == axis else 1 for i in range(3)]
            row = torch.eye(length, dtype=like.dtype, device=like.device).view(*shape, length)
            rows.append(row.expand(*grid, length))
        return F.pad(torch.cat(rows, -1).flatten(0, 2), (0, 0, self.tokens, 0))


class MultiScaleBlock(nn.Module):
    """Pooling attention and an MLP (figure 2 of arXiv:2104.11227). One of them widens the channels.

    Args:
        dim: channels of the input.
        out_dim: channels of the output.
        num_heads: heads.
        grid: of the input.
        stride_q: pooling of queries, and so of the output.
        stride_kv: pooling of keys and values.
        drop: probability of dropping a residual branch.
        options: of the network.
    """

    def __init__(
        self,
        dim: int,
        out_dim: int,
        num_heads: int,
        grid: Grid,
        stride_q: Grid,
        stride_kv: Grid,
        drop: float,
        options: AttentionOptions,
    ) -> None:
        super().__init__()
        inner = out_dim if options.dim_mul_in_attention else dim
        self.tokens = int(options.with_cls_token)
        self.widens_in_attention = options.dim_mul_in_attention
        self.norm1 = nn.LayerNorm(dim, options.eps)
        self.attn = PoolingAttention(dim, inner, num_heads, grid, stride_q, stride_kv, options)
        self.drop_path = DropPath(drop)
        self.norm2 = nn.LayerNorm(inner, options.eps)
        self.mlp = Mlp(inner, int(inner * options.mlp_ratio), out_dim=out_dim)
        self.proj = nn.Linear(dim, out_dim) if dim != out_dim else None
        self.pool_skip: nn.MaxPool3d | None = None
        if any(step > 1 for step in stride_q):
            kernel = [step + 1 if step > 1 else 1 for step in stride_q]
            self.pool_skip = nn.MaxPool3d(tuple(kernel), stride_q, tuple(side // 2 for side in kernel))

    def forward(self, tokens: tuple[Tensor, Grid]) -> tuple[Tensor, Grid]:
        """Tokens (N, L, C) and their grid -> (N, L', C') and their grid."""
        x, grid = tokens
        normed = self.norm1(x)
        attended, grid_q = self.attn(normed, grid)
        if self.proj is not None and self.widens_in_attention:
            x = self.proj(normed)
        x = self.pool(x, grid) + self.drop_path(attended)
        normed = self.norm2(x)
        shortcut = self.proj(normed) if self.proj is not None and not self.widens_in_attention else x
        return shortcut + self.drop_path(self.mlp(normed)), grid_q

    def pool(self, x: Tensor, grid: Grid) -> Tensor:
        """Max-pool the patches of the shortcut: (N, L, C) -> (N, L', C)."""
        if self.pool_skip is None:
            return x
        patches = self.pool_skip(x[:, self.tokens :].transpose(1, 2).unflatten(2, grid))
        return torch.cat((x[:, : self.tokens], patches.flatten(2).transpose(1, 2)), 1)


class MViT(Backbone):
    """Multiscale vision transformer, second version (arXiv:2112.01526); default: MViTv2-B on 16 frames.

    Args:
        arch: ``tiny``, ``small``, ``base`` or ``large``, or a size of its own.
        spatial_size: side, or height and width, of a clip, in pixels. It gives the lengths of the position tables,
            which are interpolated for clips of other sizes.
        temporal_size: frames of a clip, likewise.
        in_channels: channels of a frame.
        out_scales: stages (0 to 3, or -1 for the last) whose outputs are returned, each after a layer norm.
        drop_path_rate: stochastic depth: probability of skipping the last block, growing linearly from 0 at the first.
        use_abs_pos_embed: whether an embedding of the position is added to each patch.
        interpolate_mode: how that embedding is interpolated for clips of other sizes.
        pool_kernel: kernel of the pooling: time, height and width.
        dim_mul: factor on the channels at each stage.
        head_mul: factor on the heads at each stage.
        adaptive_kv_stride: pooling of keys and values in the first stage; later stages divide it by their own pooling.
        rel_pos_embed: whether attention depends on relative positions.
        residual_pooling: whether pooled queries are added to the result of attention.
        dim_mul_in_attention: whether channels grow in the first attention of a stage, as in MViTv2, or in the last MLP
            of the stage before, as in MViT and MaskFeat.
        with_cls_token: whether there is a class token.
        output_cls_token: whether it is returned.
        rel_pos_zero_init: whether position tables are initialised with zeros.
        mlp_ratio: ratio of hidden to outer channels of an MLP.
        qkv_bias: whether queries, keys and values have a bias.
        patch_cfg: the embedding of patches.
        frozen_stages, with_cp: see ``Backbone``; a stage begins at a block of ``downscale_indices``, the stem is
            everything before the first block.

    ``forward``: (N, in_channels, T, H, W) -> (N, C, T', H', W') for each scale, followed by the class token of the last
    one, (N, C), if it is returned; a tensor if that is a single one, else a tuple.
    """

    def __init__(
        self,
        arch: Literal["tiny", "small", "base", "large"] | MViTSize = "base",
        spatial_size: int | tuple[int, int] = 224,
        temporal_size: int = 16,
        in_channels: int = 3,
        out_scales: int | Sequence[int] = -1,
        drop_path_rate: float = 0.0,
        use_abs_pos_embed: bool = False,
        interpolate_mode: Literal["trilinear", "nearest", "area"] = "trilinear",
        pool_kernel: tuple[int, int, int] = (3, 3, 3),
        dim_mul: int = 2,
        head_mul: int = 2,
        adaptive_kv_stride: tuple[int, int, int] = (1, 8, 8),
        rel_pos_embed: bool = True,
        residual_pooling: bool = True,
        dim_mul_in_attention: bool = True,
        with_cls_token: bool = True,
        output_cls_token: bool = True,
        rel_pos_zero_init: bool = False,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        patch_cfg: PatchOptions = PatchOptions(),
        frozen_stages: int = -1,
        with_cp: bool = False,
    ) -> None:
        size = arch if isinstance(arch, MViTSize) else SIZES[arch]
        starts = sorted(size.downscale_indices)
        require(
            all(0 < i < size.num_layers for i in starts),
            f"downscale_indices must be blocks after the first, got {starts}",
        )
        stages = len(starts) + 1
        scales = [out_scales] if isinstance(out_scales, int) else list(out_scales)
        super().__init__(stages, [scale % stages for scale in scales], frozen_stages, False, with_cp)
        require(not output_cls_token or with_cls_token, "output_cls_token needs with_cls_token")
        self.starts = (0, *starts)
        self.interpolate_mode = interpolate_mode
        self.output_cls_token = output_cls_token
        self.patch_embed = PatchEmbed(
            in_channels, size.embed_dims, patch_cfg.kernel_size, patch_cfg.stride, patch_cfg.padding
        )
        sides = (spatial_size, spatial_size) if isinstance(spatial_size, int) else tuple(spatial_size)
        time, height, width = (
            (length + 2 * padding - kernel) // stride + 1
            for length, padding, kernel, stride in zip(
                (temporal_size, *sides), patch_cfg.padding, patch_cfg.kernel_size, patch_cfg.stride, strict=True
            )
        )
        self.grid = grid = (time, height, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.embed_dims)) if with_cls_token else None
        self.pos_embed: nn.Parameter | None = None
        if use_abs_pos_embed:
            patches = grid[0] * grid[1] * grid[2] + int(with_cls_token)
            self.pos_embed = nn.Parameter(torch.zeros(1, patches, size.embed_dims))
        options = AttentionOptions(
            pool_kernel,
            with_cls_token,
            rel_pos_embed,
            residual_pooling,
            rel_pos_zero_init,
            qkv_bias,
            mlp_ratio,
            dim_mul_in_attention,
            1e-6,
        )
        dim, heads, stride_kv = size.embed_dims, size.num_heads, adaptive_kv_stride
        self.blocks = nn.ModuleList()
        for i, drop in enumerate(drop_path_rates(drop_path_rate, size.num_layers)):
            stride_q = (1, 2, 2) if i in starts else (1, 1, 1)
            if i in starts:
                heads *= head_mul
                stride_kv = (stride_kv[0], max(stride_kv[1] // 2, 1), max(stride_kv[2] // 2, 1))
            widens = (i if dim_mul_in_attention else i + 1) in starts
            out_dim = dim * dim_mul if widens else dim
            require(out_dim % heads == 0, f"num_heads must divide the channels; {heads} does not divide {out_dim}")
            self.blocks.append(MultiScaleBlock(dim, out_dim, heads, grid, stride_q, stride_kv, drop, options))
            dim, grid = out_dim, pooled(grid, stride_q)
            stage = next((s for s, start in enumerate((*starts, size.num_layers)) if start == i + 1), None)
            if stage in self.out_indices:
                self.add_module(f"norm{stage}", nn.LayerNorm(dim, options.eps))
        self.init_weights()
        self.freeze()

    def init_weights(self) -> None:
        """Initialise as published: truncated normal weights, and biases of 0.02."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv3d):
                nn.init.trunc_normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None:
                nn.init.constant_(module.bias, 0.02)
        for parameter in (self.cls_token, self.pos_embed):
            if parameter is not None:
                nn.init.trunc_normal_(parameter, std=0.02)

    @property
    def stages(self) -> list[nn.Module]:
        ends = (*self.starts[1:], len(self.blocks))
        return [nn.ModuleList(self.blocks[i] for i in range(*ends)) for ends in zip(self.starts, ends, strict=True)]

    def freezable(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        tables = [table for table in (self.cls_token, self.pos_embed) if table is not None]
        return [[self.patch_embed, *tables], *([stage] for stage in self.stages)]

    def layer_of(self, name: str) -> int | None:
        """Return the layer of a parameter, for ``LayerDecayGroups``."""
        return layer_by_name(name, ("patch_embed.", "cls_token", "pos_embed"))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        patches = self.patch_embed(x)
        time, height, width = patches.shape[1:4]
        grid: Grid = (time, height, width)
        tokens = patches.flatten(1, 3)
        if self.cls_token is not None:
            tokens = torch.cat((self.cls_token.expand(tokens.shape[0], -1, -1), tokens), 1)
        if self.pos_embed is not None:
            tokens = tokens + self.positions(self.pos_embed, grid)
        outputs = []
        for i, stage in enumerate(self.stages):
            tokens, grid = run_blocks(stage.children(), (tokens, grid), with_cp=self.with_cp)
            if i in self.out_indices:
                normed = self.get_submodule(f"norm{i}")(tokens)
                outputs.append(normed[:, -math.prod(grid) :].transpose(1, 2).unflatten(2, grid))
        if self.output_cls_token:
            outputs.append(normed[:, 0])
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of an image network, inflated, or of a network on clips without a classifier.

        The mask token of MaskFeat is left out, and tables of distances in time, which images lack, are kept.
        """
        weights = {key: value for key, value in of_backbone(state_dict).items() if key != "mask_token"}
        for name, own in self.named_parameters():
            if name.endswith("rel_pos_t"):
                weights.setdefault(name, own.detach())
        return super().convert_2d_weights(weights)

    def positions(self, table: Tensor, grid: Grid) -> Tensor:
        """Return the position embeddings of a grid: (1, L, C)."""
        if grid == self.grid:
            return table
        kept, patches = table.split((table.shape[1] - math.prod(self.grid), math.prod(self.grid)), 1)
        volume = patches.transpose(1, 2).unflatten(2, self.grid)
        resized = F.interpolate(volume, grid, mode=self.interpolate_mode)
        return torch.cat((kept, resized.flatten(2).transpose(1, 2)), 1)
