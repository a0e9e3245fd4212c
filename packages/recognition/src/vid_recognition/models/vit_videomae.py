"""VideoMAE and VideoMAE V2: a plain vision transformer on tubelets, for fine-tuning and recognition.

Papers: VideoMAE, arXiv:2203.12602; VideoMAE V2, arXiv:2303.16727; attention with separate biases as in BEiT,
arXiv:2106.08254.
Shapes: N clips, T frames, H height, W width; a grid of T/2 x H/16 x W/16 tubelets with C channels;
input (N, 3, T, H, W), output (N, C).
What differs: positions are sinusoids of the number of a tubelet, counted row by row and frame by frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone
from vidcore.errors import CheckpointError, UserError
from vidcore.nn import (
    Attention,
    DropPath,
    Mlp,
    PatchEmbed,
    PositionTables,
    drop_path_rates,
    guess_grid,
    init_transformer,
    layer_by_name,
    require,
    resize_positions,
    run_blocks,
    sinusoids,
)

__all__ = ["VisionTransformer"]

EPS = 1e-6
"""Of all layer norms."""


class Block(nn.Module):
    """Attention and an MLP, each after a layer norm and beside a shortcut: (N, L, C) -> the same."""

    def __init__(self, dim: int, attn: Attention, mlp: Mlp, drop_path: float, init_values: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, EPS)
        self.attn = attn
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, EPS)
        self.mlp = mlp
        scaled = init_values > 0
        self.gamma_1 = nn.Parameter(torch.full((dim,), init_values)) if scaled else None
        self.gamma_2 = nn.Parameter(torch.full((dim,), init_values)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(_scaled(self.attn(self.norm1(x)), self.gamma_1))
        return x + self.drop_path(_scaled(self.mlp(self.norm2(x)), self.gamma_2))


def _scaled(x: Tensor, factor: Tensor | None) -> Tensor:
    return x if factor is None else x * factor


class VisionTransformer(Backbone, PositionTables):
    """The encoder of VideoMAE; default: ViT-B/16 on 16 frames.

    Args:
        img_size: height and width of a clip, in pixels.
        patch_size: height and width of a tubelet.
        in_channels: channels of a frame.
        embed_dims: C.
        depth: number of blocks.
        num_heads: attention heads of each block.
        mlp_ratio: hidden channels of an MLP, relative to C.
        qkv_bias: biases of queries and values; keys have none.
        qk_scale: factor on the products of queries and keys; default: (C / num_heads) ** -0.5.
        drop_rate: dropout of the embedded tubelets and of the outputs of attention and MLPs.
        attn_drop_rate: dropout of the weights of the attention.
        drop_path_rate: stochastic depth: probability of skipping the last block, growing linearly from 0 at the first.
        init_values: initial factor on the channels of each branch (arXiv:2103.17239); 0: no such factors.
        use_learnable_pos_emb: learn the position embedding instead of using sinusoids.
        num_frames: frames of a clip.
        tubelet_size: frames of a tubelet.
        use_mean_pooling: average over the tubelets, then normalise; otherwise normalise and return the first.
        return_feat_map: return all tubelets; clips may have any size, for which positions are interpolated.
        frozen_stages: what is not trained: -1 nothing, 0 the embedding, N the embedding and the first N blocks.
        with_cp: see ``Backbone``.

    ``forward``: (N, in_channels, T, H, W) -> (N, C), or (N, C, T', H', W') with ``return_feat_map``.
    """

    position_tables = ("pos_embed",)
    pos_embed: Tensor

    def __init__(
        self,
        img_size: int = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dims: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        init_values: float = 0.0,
        use_learnable_pos_emb: bool = False,
        num_frames: int = 16,
        tubelet_size: int = 2,
        use_mean_pooling: bool = True,
        return_feat_map: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
    ) -> None:
        super().__init__(depth, (depth - 1,), frozen_stages, False, with_cp)
        require(img_size % patch_size == 0, f"img_size must be a multiple of patch_size ({patch_size}), got {img_size}")
        require(
            num_frames % tubelet_size == 0,
            f"num_frames must be a multiple of tubelet_size ({tubelet_size}), got {num_frames}",
        )
        self.clip = (num_frames, img_size, img_size)
        self.grid = (num_frames // tubelet_size, img_size // patch_size, img_size // patch_size)
        self.patch_embed = PatchEmbed(in_channels, embed_dims, (tubelet_size, patch_size, patch_size))
        if use_learnable_pos_emb:
            self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(self.grid), embed_dims))
            nn.init.trunc_normal_(self.pos_embed, std=0.02)
        else:
            self.register_buffer("pos_embed", sinusoids(math.prod(self.grid), embed_dims)[None], persistent=False)
            self.register_load_state_dict_pre_hook(_drop_sinusoids)  # type: ignore[no-untyped-call]
        self.pos_drop = nn.Dropout(drop_rate)
        self.blocks = nn.ModuleList(
            Block(
                embed_dims,
                Attention(embed_dims, num_heads, "qv" if qkv_bias else "none", qk_scale, attn_drop_rate, drop_rate),
                Mlp(embed_dims, int(embed_dims * mlp_ratio), None, drop_rate, drop_rate, ("layers.0.0", "layers.1")),
                drop_path,
                init_values,
            )
            for drop_path in drop_path_rates(drop_path_rate, depth)
        )
        self.norm = nn.Identity() if use_mean_pooling else nn.LayerNorm(embed_dims, EPS)
        self.fc_norm = nn.LayerNorm(embed_dims, EPS) if use_mean_pooling else None
        self.return_feat_map = return_feat_map
        init_transformer(self)
        self.freeze()

    @property
    def stages(self) -> list[nn.Module]:
        return list(self.blocks)

    def freezable(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        learned = [self.pos_embed] if isinstance(self.pos_embed, nn.Parameter) else []
        return [[self.patch_embed, *learned], *([block] for block in self.blocks)]

    def layer_of(self, name: str) -> int | None:
        """Return the layer of a parameter, for ``LayerDecayGroups``."""
        return layer_by_name(name, ("patch_embed.", "pos_embed"))

    def resize_table(self, name: str, table: Tensor) -> Tensor:
        """Interpolate learned positions in space and time."""
        return resize_positions(table, guess_grid(table.shape[1], self.grid), self.grid)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        grid = tuple(x.shape[1:4])
        if grid != self.grid and not self.return_feat_map:
            frames, size, _ = self.clip
            raise UserError(
                f"VisionTransformer takes clips of {frames} frames of {size} x {size} pixels, "
                f"{' x '.join(map(str, self.grid))} tubelets, and got {' x '.join(map(str, grid))}: "
                "see num_frames and img_size of the backbone"
            )
        x = self.pos_drop(x.flatten(1, 3) + resize_positions(self.pos_embed, self.grid, grid))
        x = run_blocks(self.blocks, x, with_cp=self.with_cp)
        x = self.norm(x)
        if self.return_feat_map:
            return x.transpose(1, 2).unflatten(2, grid)
        return x[:, 0] if self.fc_norm is None else self.fc_norm(x.mean(1))


def _drop_sinusoids(net: VisionTransformer, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """Compare the table of sinusoids, which published checkpoints have, and drop it."""
    table = state_dict.pop(f"{prefix}pos_embed", None)
    if table is None:
        return
    if table.shape != net.pos_embed.shape:
        raise CheckpointError(
            f"{prefix}pos_embed has {table.shape[1]} positions in the file and {net.pos_embed.shape[1]} in the model: "
            "num_frames or img_size differ"
        )
    if not torch.allclose(table.float().cpu(), net.pos_embed.cpu(), atol=1e-5):
        raise CheckpointError(f"{prefix}pos_embed is learned in the file: set use_learnable_pos_emb of the backbone")
