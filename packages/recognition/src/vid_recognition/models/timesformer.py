"""TimeSformer: a vision transformer whose blocks attend over time and space.

Paper: Is Space-Time Attention All You Need for Video Understanding?, arXiv:2102.05095.
Shapes: N clips, T frames, H height, W width, P = H/16 * W/16 patches of a frame, C channels; tokens of a clip
(N, 1 + P * T, C): a class token, then patch by patch its frames; input (N, 3, T, H, W), output (N, C).
What differs: stochastic depth in training, as in the published networks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone
from vidcore.errors import CheckpointError, UserError
from vidcore.nn import (
    DropPath,
    Mlp,
    PackedAttention,
    PatchEmbed,
    PositionTables,
    drop_path_rates,
    guess_grid,
    init_transformer,
    layer_by_name,
    require,
    resize_positions,
    run_blocks,
)

__all__ = ["DividedBlock", "JointBlock", "NormedMlp", "SpatialAttention", "TemporalAttention", "TimeSformer"]

EPS = 1e-6
"""Of all layer norms."""
NAMES = ("layers.0.0", "layers.1")
"""Names of the layers of an MLP."""


BLOCK = "transformer_layers.layers."
IMAGE_NAMES = tuple(
    (re.compile(old), new)
    for old, new in (
        (r"^backbone\.", ""),
        (r"^patch_embed\.proj\.", "patch_embed.projection."),
        (r"^blocks\.", BLOCK),
        (r"(\d)\.norm1\.", r"\1.norms.0."),
        (r"(\d)\.norm2\.", r"\1.norms.1."),
        (r"(\d)\.attn\.qkv\.", r"\1.attentions.0.attn.in_proj_"),
        (r"(\d)\.attn\.proj\.", r"\1.attentions.0.attn.out_proj."),
        (r"\.mlp\.fc1\.", ".ffns.0.layers.0.0."),
        (r"\.mlp\.fc2\.", ".ffns.0.layers.1."),
    )
)
"""Names in image transformers, and here."""
DIVIDED_NAMES = ((re.compile(r"\.norms\.0\."), ".attentions.0.norm."), (re.compile(r"\.norms\.1\."), ".ffns.0.norm."))


class TemporalAttention(nn.Module):
    """Each patch attends to the same patch of all frames (section 3, eq. 11): (N, 1 + P * T, C) -> the same."""

    def __init__(self, dim: int, num_heads: int, frames: int, drop_path: float = 0.0, eps: float = EPS) -> None:
        super().__init__()
        self.frames = frames
        self.norm = nn.LayerNorm(dim, eps)
        self.attn = PackedAttention(dim, num_heads)
        self.drop_path = DropPath(drop_path)
        self.temporal_fc = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        token, patches = x[:, :1], x[:, 1:]
        lines = patches.reshape(-1, self.frames, x.shape[-1])
        changes = self.temporal_fc(self.drop_path(self.attn(self.norm(lines))))
        return torch.cat((token, patches + changes.reshape_as(patches)), 1)


class SpatialAttention(nn.Module):
    """Each patch attends to all patches of its frame and the class token: (N, 1 + P * T, C) -> the same.

    The change of the class token is the mean over all frames.
    """

    def __init__(self, dim: int, num_heads: int, frames: int, drop_path: float = 0.0, eps: float = EPS) -> None:
        super().__init__()
        self.frames = frames
        self.norm = nn.LayerNorm(dim, eps)
        self.attn = PackedAttention(dim, num_heads)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        images = x[:, 1:].unflatten(1, (-1, self.frames)).transpose(1, 2)  # N, T, P, C
        tokens = x[:, None, :1].expand(-1, self.frames, -1, -1)
        images = torch.cat((tokens, images), 2).flatten(0, 1)
        changes = self.drop_path(self.attn(self.norm(images))).unflatten(0, (-1, self.frames))
        token = changes[:, :, :1].mean(1)
        return x + torch.cat((token, changes[:, :, 1:].transpose(1, 2).flatten(1, 2)), 1)


class NormedMlp(Mlp):
    """An MLP after a layer norm and beside a shortcut: (N, L, C) -> the same."""

    def __init__(self, dim: int, hidden: int, drop_path: float = 0.0, eps: float = EPS) -> None:
        super().__init__(dim, hidden, names=NAMES)
        self.norm = nn.LayerNorm(dim, eps)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop_path(super().forward(self.norm(x)))


class DividedBlock(nn.Module):
    """Divided space-time attention (figure 2): over time, over space, then an MLP."""

    def __init__(self, dim: int, num_heads: int, frames: int, drop_path: float) -> None:
        super().__init__()
        self.attentions = nn.ModuleList(
            (TemporalAttention(dim, num_heads, frames, drop_path), SpatialAttention(dim, num_heads, frames, drop_path))
        )
        self.ffns = nn.ModuleList((NormedMlp(dim, 4 * dim, drop_path),))

    def forward(self, x: Tensor) -> Tensor:
        return run_blocks((*self.attentions, *self.ffns), x)


class JointBlock(nn.Module):
    """A block of a vision transformer: all tokens attend to all, those of a frame or of a clip."""

    def __init__(self, dim: int, num_heads: int, drop_path: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(dim, EPS) for _ in range(2))
        self.attentions = nn.ModuleList((nn.ModuleDict({"attn": PackedAttention(dim, num_heads)}),))
        self.ffns = nn.ModuleList((Mlp(dim, 4 * dim, names=NAMES),))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.attentions[0]["attn"](self.norms[0](x)))  # type: ignore[index]
        return x + self.drop_path(self.ffns[0](self.norms[1](x)))


class TimeSformer(Backbone, PositionTables):
    """TimeSformer (section 3); default: ViT-B/16.

    Args:
        num_frames: T.
        img_size: height and width of a clip, in pixels.
        patch_size: height and width of a patch.
        embed_dims: C.
        num_heads: attention heads of each block.
        num_transformer_layers: number of blocks.
        in_channels: channels of a frame.
        dropout_ratio: dropout after the position and the time embedding.
        attention_type: ``divided_space_time``, ``joint_space_time``, or ``space_only``, which averages the frames at
            the end.
        drop_path_rate: stochastic depth: probability of skipping the last block, growing linearly from 0 at the first.
        frozen_stages: what is not trained: -1 nothing, 0 the embedding, N the embedding and the first N blocks.
        with_cp: see ``Backbone``.

    ``forward``: (N, in_channels, T, H, W) -> (N, C).
    """

    position_tables = ("pos_embed", "time_embed")

    def __init__(
        self,
        num_frames: int,
        img_size: int,
        patch_size: int,
        embed_dims: int = 768,
        num_heads: int = 12,
        num_transformer_layers: int = 12,
        in_channels: int = 3,
        dropout_ratio: float = 0.0,
        attention_type: Literal["divided_space_time", "joint_space_time", "space_only"] = "divided_space_time",
        drop_path_rate: float = 0.1,
        frozen_stages: int = -1,
        with_cp: bool = False,
    ) -> None:
        depth = num_transformer_layers
        super().__init__(depth, (depth - 1,), frozen_stages, False, with_cp)
        require(img_size % patch_size == 0, f"img_size must be a multiple of patch_size ({patch_size}), got {img_size}")
        self.clip = (num_frames, img_size, img_size)
        self.patch_embed = PatchEmbed(in_channels, embed_dims, (patch_size, patch_size))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dims))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (img_size // patch_size) ** 2, embed_dims))
        self.time_embed = None
        if attention_type != "space_only":
            self.time_embed = nn.Parameter(torch.zeros(1, num_frames, embed_dims))
        self.dropout = nn.Dropout(dropout_ratio)
        self.transformer_layers = nn.ModuleDict(
            {
                "layers": nn.ModuleList(
                    DividedBlock(embed_dims, num_heads, num_frames, rate)
                    if attention_type == "divided_space_time"
                    else JointBlock(embed_dims, num_heads, rate)
                    for rate in drop_path_rates(drop_path_rate, depth)
                )
            }
        )
        self.norm = nn.LayerNorm(embed_dims, EPS)
        init_transformer(self)
        for module in self.modules():
            if isinstance(module, TemporalAttention):  # new blocks change nothing over time
                nn.init.zeros_(module.temporal_fc.weight)
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)
        self.freeze()

    @property
    def stages(self) -> list[nn.Module]:
        return list(self.get_submodule("transformer_layers.layers").children())

    def freezable(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        times = [] if self.time_embed is None else [self.time_embed]
        return [[self.patch_embed, self.cls_token, self.pos_embed, *times], *([block] for block in self.stages)]

    def layer_of(self, name: str) -> int | None:
        """Return the layer of a parameter, for ``LayerDecayGroups``."""
        embeddings = ("patch_embed.", "cls_token", "pos_embed", "time_embed")
        return layer_by_name(name, embeddings, "transformer_layers.layers")

    def resize_table(self, name: str, table: Tensor) -> Tensor:
        """Interpolate positions in space (after the class token) or time."""
        rows = self.get_parameter(name).shape[1]
        if name == "time_embed":
            return resize_positions(table, (table.shape[1],), (rows,))
        own = guess_grid(rows - 1, (1, 1, 1))
        return resize_positions(table, guess_grid(table.shape[1] - 1, own), own, prefix=1)

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a vision transformer on images under the names of this network.

        Divided attention starts with the weights of the image network over time, too. Accepts the names of this
        network and of timm. Raises ``CheckpointError`` if they belong to a different network.
        """
        own = self.state_dict()
        divided = any(".attentions.1." in key for key in own)
        found = {}
        for key, value in state_dict.items():
            for pattern, new in (*IMAGE_NAMES, *(DIVIDED_NAMES if divided else ())):
                key = pattern.sub(new, key)
            if not key.startswith(("head.", "cls_head.", "pre_logits.")):
                found[key] = value
        if divided:
            found |= {k.replace("attentions.0", "attentions.1"): v for k, v in found.items() if "attentions.0" in k}
        missing = [k for k in own if k not in found and k != "time_embed" and ".temporal_fc." not in k]
        surplus = [k for k in found if k not in own]
        if missing or surplus:
            what = f"lack {missing[0]}" if missing else f"have {surplus[0]}, which it lacks"
            raise CheckpointError(f"these are not weights of an image transformer like this TimeSformer: they {what}")
        return found

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != self.clip:
            made, found = (" x ".join(map(str, size)) for size in (self.clip, x.shape[2:]))
            raise UserError(
                f"TimeSformer takes clips of {made} frames and pixels, and got {found}: "
                "see num_frames and img_size of the backbone"
            )
        clips, _, frames = x.shape[:3]
        x = self.patch_embed(x.transpose(1, 2).flatten(0, 1)).flatten(1, 2)  # N * T, P, C
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), 1) + self.pos_embed
        x = self.dropout(x)
        if self.time_embed is None:
            x = run_blocks(self.stages, x, with_cp=self.with_cp)
            return self.norm(x.unflatten(0, (clips, frames)).mean(1))[:, 0]
        token = x[::frames, :1]  # the same for all frames
        patches = x[:, 1:].unflatten(0, (clips, frames)).transpose(1, 2)  # N, P, T, C
        patches = self.dropout(patches + self.time_embed)
        x = torch.cat((token, patches.flatten(1, 2)), 1)
        x = run_blocks(self.stages, x, with_cp=self.with_cp)
        return self.norm(x)[:, 0]
