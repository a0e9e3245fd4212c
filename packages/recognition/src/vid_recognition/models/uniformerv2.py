"""UniFormerV2: the image tower of CLIP on frames, with global blocks that gather a video from its last layers.

Paper: UniFormerV2: Spatiotemporal Learning by Arming Image ViTs with Video UniFormer, arXiv:2211.09552.
Shapes: N clips, T frames, H height, W width, L = 1 + P tokens of a frame (a class token and P = H/16 * W/16 patches),
C channels; input (N, 3, T, H, W), output (N, C).
What differs: published networks have no local blocks (``no_lmhra``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from vid_recognition.models.layers import Backbone
from vidcore.errors import CheckpointError, UserError
from vidcore.nn import (
    ClipBlock,
    DropPath,
    Mlp,
    PackedAttention,
    PositionTables,
    QuickGELU,
    drop_path_rates,
    guess_grid,
    layer_by_name,
    require,
    resize_positions,
    run_blocks,
)

__all__ = ["UniFormerV2"]


class LocalBlock(nn.Module):
    """Local temporal relation of each patch (section 3.2, eq. 4): a depthwise convolution over ``kernel`` frames."""

    def __init__(self, dim: int, reduction: float, kernel: int) -> None:
        super().__init__()
        hidden = int(dim // reduction)
        self.pos_embed = nn.Sequential(
            nn.BatchNorm3d(dim),
            nn.Conv3d(dim, hidden, 1),
            nn.Conv3d(hidden, hidden, (kernel, 1, 1), padding=(kernel // 2, 0, 0), groups=hidden),
            nn.Conv3d(hidden, dim, 1),
        )
        nn.init.zeros_(self.pos_embed[3].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.pos_embed[3].bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, frames: int) -> Tensor:
        """(N * T, L, C) -> the change of the patches; that of the class token is 0."""
        side = int((x.shape[1] - 1) ** 0.5)
        grid = x[:, 1:].unflatten(1, (side, side)).unflatten(0, (-1, frames))  # N, T, H, W, C
        changes = self.pos_embed(grid.movedim(-1, 1)).movedim(1, -1).flatten(2, 3).flatten(0, 1)
        return torch.cat((torch.zeros_like(x[:, :1]), changes), 1)


class SpatialBlock(ClipBlock):
    """A block of CLIP on the tokens of each frame, with local blocks before and after the attention if wanted."""

    def __init__(self, dim: int, num_heads: int, drop_path: float, local: Sequence[LocalBlock]) -> None:
        super().__init__(dim, num_heads, drop_path=drop_path)
        self.lmhra1 = local[0] if local else None
        self.lmhra2 = local[1] if len(local) > 1 else None

    def forward(self, x: Tensor, frames: int) -> Tensor:  # type: ignore[override]
        """(N * T, L, C) -> the same."""
        if self.lmhra1 is not None:
            x = x + self.drop_path(self.lmhra1(x, frames))
        x = x + self.drop_path(self.attn(self.ln_1(x)))
        if self.lmhra2 is not None:
            x = x + self.drop_path(self.lmhra2(x, frames))
        return x + self.drop_path(self.mlp(self.ln_2(x)))


class GlobalBlock(nn.Module):
    """A query gathers all tokens of a clip by cross attention (section 3.3, eq. 8). New blocks are the identity.

    ``forward``: query (N, 1, C), tokens (N, M, C) -> (N, 1, C).
    """

    def __init__(self, dim: int, num_heads: int, mlp_factor: float, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.attn = PackedAttention(dim, num_heads)
        self.ln_1 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, round(mlp_factor * dim), QuickGELU(), dropout, names=("c_fc", "c_proj"))
        self.ln_2 = nn.LayerNorm(dim)
        self.ln_3 = nn.LayerNorm(dim)
        self.drop_path = DropPath(drop_path)
        nn.init.xavier_uniform_(self.mlp.get_parameter("c_fc.weight"))
        for layer in (self.attn.out_proj, self.mlp.get_submodule("c_proj")):
            nn.init.zeros_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        query = query + self.drop_path(self.attn(self.ln_1(query), self.ln_3(tokens)))
        return query + self.drop_path(self.mlp(self.ln_2(query)))


class Transformer(nn.Module):
    """The blocks on frames, and a global block after each of ``return_list`` (figure 3)."""

    def __init__(self, resblocks: Sequence[SpatialBlock], dec: Sequence[GlobalBlock], dim: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(resblocks)
        self.dpe = nn.ModuleList(nn.Conv3d(dim, dim, 3, padding=1, groups=dim) for _ in dec)
        self.dec = nn.ModuleList(dec)
        self.temporal_cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.balance = nn.Parameter(torch.zeros(dim))
        self.norm = nn.LayerNorm(dim)
        for conv in self.dpe:
            nn.init.zeros_(conv.get_parameter("weight"))
            nn.init.zeros_(conv.get_parameter("bias"))


class UniFormerV2(Backbone, PositionTables):
    """UniFormerV2 (section 3); default: UniFormerV2-B/16.

    Args:
        input_resolution: height and width of a clip, in pixels.
        patch_size: height and width of a patch.
        width: C.
        layers: number of blocks on frames.
        heads: attention heads of each of them.
        backbone_drop_path_rate: stochastic depth of the last of them, growing linearly from 0 at the first.
        t_size: frames of a clip.
        kernel_size: frames that a local block spans.
        dw_reduction: C, divided by the channels inside of a local block.
        temporal_downsample: the embedding spans three frames and halves their number.
        no_lmhra: without local blocks.
        double_lmhra: a local block also after the attention, not only before.
        return_list: blocks on frames (from 0) that are followed by a global block.
        n_head: attention heads of a global block.
        mlp_factor: hidden channels of the MLP of a global block, relative to C.
        drop_path_rate: stochastic depth of the last global block, growing linearly from 0 at the first.
        mlp_dropout: dropout inside of the MLP of each global block.
        frozen_stages: what is not trained: -1 nothing, 0 the embedding, N the embedding and the first N blocks.
        with_cp: see ``Backbone``.

    ``forward``: (N, 3, T, H, W) -> (N, C).
    """

    position_tables = ("positional_embedding",)

    def __init__(
        self,
        input_resolution: int = 224,
        patch_size: int = 16,
        width: int = 768,
        layers: int = 12,
        heads: int = 12,
        backbone_drop_path_rate: float = 0.0,
        t_size: int = 8,
        kernel_size: int = 3,
        dw_reduction: float = 1.5,
        temporal_downsample: bool = False,
        no_lmhra: bool = True,
        double_lmhra: bool = False,
        return_list: Sequence[int] = (8, 9, 10, 11),
        n_head: int = 12,
        mlp_factor: float = 4.0,
        drop_path_rate: float = 0.0,
        mlp_dropout: Sequence[float] = (0.5, 0.5, 0.5, 0.5),
        frozen_stages: int = -1,
        with_cp: bool = False,
    ) -> None:
        require(
            len(return_list) > 0 and all(0 <= i < layers for i in return_list),
            f"return_list must name blocks 0 to {layers - 1}, got {tuple(return_list)}",
        )
        super().__init__(layers, return_list, frozen_stages, False, with_cp)
        require(
            input_resolution % patch_size == 0,
            f"input_resolution must be a multiple of patch_size ({patch_size}), got {input_resolution}",
        )
        require(
            len(mlp_dropout) == len(return_list),
            f"mlp_dropout needs {len(return_list)} entries, one for each of return_list, got {len(mlp_dropout)}",
        )
        self.clip = (t_size, input_resolution, input_resolution)
        kernel, stride, padding = (3, 2, 1) if temporal_downsample else (1, 1, 0)
        self.conv1 = nn.Conv3d(
            3, width, (kernel, patch_size, patch_size), (stride, patch_size, patch_size), (padding, 0, 0), bias=False
        )
        scale = width**-0.5
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(1 + (input_resolution // patch_size) ** 2, width))
        self.ln_pre = nn.LayerNorm(width)
        local = 0 if no_lmhra else 2 if double_lmhra else 1
        self.transformer = Transformer(
            [
                SpatialBlock(width, heads, rate, [LocalBlock(width, dw_reduction, kernel_size) for _ in range(local)])
                for rate in drop_path_rates(backbone_drop_path_rate, layers)
            ],
            [
                GlobalBlock(width, n_head, mlp_factor, dropout, rate)
                for dropout, rate in zip(mlp_dropout, drop_path_rates(drop_path_rate, len(return_list)), strict=True)
            ],
            width,
        )
        self.freeze()

    @property
    def stages(self) -> list[nn.Module]:
        return list(self.transformer.resblocks)

    def freezable(self) -> Sequence[Sequence[nn.Module | nn.Parameter]]:
        embedding: list[nn.Module | nn.Parameter] = [
            self.conv1,
            self.class_embedding,
            self.positional_embedding,
            self.ln_pre,
        ]
        return [embedding, *([block] for block in self.stages)]

    def layer_of(self, name: str) -> int | None:
        """Return the layer of a parameter, for ``LayerDecayGroups``; global blocks learn at the full rate."""
        embeddings = ("conv1.", "class_embedding", "positional_embedding", "ln_pre.")
        return layer_by_name(name, embeddings, "transformer.resblocks")

    def resize_table(self, name: str, table: Tensor) -> Tensor:
        """Interpolate positions in space, after the class token."""
        own = guess_grid(len(self.positional_embedding) - 1, (1, 1, 1))
        return resize_positions(table, guess_grid(len(table) - 1, own), own, prefix=1)

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of an image tower of CLIP under the names of this network; global blocks are not in them.

        Accepts a whole CLIP (``visual.``) or its image tower. Raises ``CheckpointError`` for any other network.
        """
        if any(key.startswith("visual.") for key in state_dict):
            state_dict = {k.removeprefix("visual."): v for k, v in state_dict.items() if k.startswith("visual.")}
        own = self.state_dict()
        clip = [k for k in own if not re.match(r"transformer\.(dpe|dec|norm|balance|temporal_cls)|.*lmhra", k)]
        missing = [k for k in clip if k not in state_dict]
        surplus = [k for k in state_dict if k not in own and not k.startswith(("ln_post.", "proj"))]
        if missing or surplus:
            what = f"lack {missing[0]}" if missing else f"have {surplus[0]}, which it lacks"
            raise CheckpointError(f"these are not weights of an image tower of CLIP like this UniFormerV2: they {what}")
        kernel = state_dict["conv1.weight"]
        times = own["conv1.weight"].shape[2]
        if kernel.ndim == 4:
            kernel = kernel.unsqueeze(2).repeat(1, 1, times, 1, 1) / times
        return {k: state_dict[k] for k in clip} | {"conv1.weight": kernel}

    def unused_2d_weights(self, names: Iterable[str]) -> list[str]:
        """Return the names of the tower of texts, and of the projection of images to its space."""
        names = list(names)
        tower = "visual." if any(name.startswith("visual.") for name in names) else ""
        return [n for n in names if not n.startswith(tower) or n.startswith((f"{tower}ln_post.", f"{tower}proj"))]

    def forward(self, x: Tensor) -> Tensor:
        if tuple(x.shape[2:]) != self.clip:
            made, found = (" x ".join(map(str, size)) for size in (self.clip, x.shape[2:]))
            raise UserError(
                f"UniFormerV2 takes clips of {made} frames and pixels, and got {found}: "
                "see t_size and input_resolution of the backbone"
            )
        net = self.transformer
        x = self.conv1(x)
        frames, height, width = x.shape[2:]
        x = x.transpose(1, 2).flatten(0, 1).flatten(2).transpose(1, 2)  # N * T, P, C
        x = torch.cat((self.class_embedding.expand(x.shape[0], 1, -1), x), 1) + self.positional_embedding
        x = self.ln_pre(x)
        query = net.temporal_cls_token.expand(x.shape[0] // frames, -1, -1)
        gathered = dict(zip(self.out_indices, zip(net.dpe, net.dec, strict=True), strict=True))
        for i, block in enumerate(net.resblocks):
            x = run_blocks((block,), x, frames, with_cp=self.with_cp)
            if i in gathered:
                dpe, dec = gathered[i]
                tokens = x.unflatten(0, (-1, frames))  # N, T, L, C
                grid = tokens[:, :, 1:].unflatten(2, (height, width)).movedim(-1, 1)
                position = dpe(grid).movedim(1, -1).flatten(2, 3)
                tokens = torch.cat((tokens[:, :, :1], tokens[:, :, 1:] + position), 2)
                query = run_blocks((dec,), query, tokens.flatten(1, 2), with_cp=self.with_cp)
        weight = net.balance.sigmoid()
        token = x[:, 0].unflatten(0, (-1, frames)).mean(1)
        return net.norm((1 - weight) * query[:, 0] + weight * token)
