"""BEiT on the frames of a video, with temporal attention (VindLU, Cheng et al. 2022, arXiv:2212.05051).

BEiT (Bao et al. 2021, arXiv:2106.08254) looks at each frame; after each of its blocks, every patch looks at itself in
all frames, as in TimeSformer (arXiv:2102.05095). A learned factor, 0 at first, lets training begin from the image
network.

Differs from published networks: none of the outputs. The linear layer of the temporal attention has no effect there
either, and is kept for its weights.

Shapes: B videos, T frames, P patches and one class token of each frame, C channels, h heads.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vid_retrieval.models.parts import Dense, Layers
from vidcore.nn import require
from vidcore.nn.checkpointing import run_blocks
from vidcore.nn.transformer import DropPath, PackedAttention, PatchEmbed, attend, drop_path_rates, init_transformer

__all__ = ["BeitModel3D"]

EPSILON = 1e-12


class BeitModel3D(nn.Module):
    """BEiT with temporal attention.

    Args:
        num_frames: frames that have a learned position; clips may have fewer.
        image_size: height and width of the frames, in pixels.
        patch_size: height and width of a patch.
        hidden_size: C.
        num_layers: number of blocks.
        num_heads: h.
        mlp_size: hidden channels of the MLPs.
        drop_path_rate: probability of dropping a branch of the last block while training; grows linearly from 0.
        layer_scale: initial factor on the branches of a block.
        with_cp: gradient checkpointing of the blocks.

    ``forward``: (B, T, 3, H, W) -> tokens (B, T, 1 + P, C), and the normalised mean of the patches of each frame
    (B, T, C).

    Raises ``ValueError`` if an argument is not valid.
    """

    def __init__(
        self,
        num_frames: int = 12,
        image_size: int = 224,
        patch_size: int = 16,
        hidden_size: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_size: int = 3072,
        drop_path_rate: float = 0.1,
        layer_scale: float = 0.1,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        require(image_size % patch_size == 0, f"patch_size must divide image_size {image_size}, got {patch_size}")
        self.num_frames, self.image_size, self.hidden_size, self.with_cp = num_frames, image_size, hidden_size, with_cp
        self.embeddings = FrameEmbeddings(num_frames, patch_size, hidden_size)
        self.encoder = Layers(
            BeitBlock(hidden_size, num_heads, mlp_size, image_size // patch_size, rate, layer_scale)
            for rate in drop_path_rates(drop_path_rate, num_layers)
        )
        self.pooler = MeanOfPatches(hidden_size)
        init_transformer(self)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        count = frames.shape[1]
        require(
            count <= self.num_frames and frames.shape[3:] == (self.image_size,) * 2,
            f"takes up to {self.num_frames} frames of {self.image_size} x {self.image_size} pixels, and got {count} of "
            f"{frames.shape[3]} x {frames.shape[4]}",
        )
        tokens = self.embeddings(frames)
        tokens = run_blocks(self.encoder.layer, tokens, with_cp=self.with_cp and self.training)
        return tokens, self.pooler(tokens)


class FrameEmbeddings(nn.Module):
    """Patches and a class token of each frame, with the position of the frame. (B, T, 3, H, W) -> (B, T, 1 + P, C)."""

    def __init__(self, num_frames: int, patch_size: int, dim: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.temporal_position_embeddings = nn.Parameter(torch.zeros(1, num_frames, 1, dim))
        self.patch_embeddings = PatchEmbed(3, dim, (patch_size, patch_size))

    def forward(self, frames: Tensor) -> Tensor:
        patches = self.patch_embeddings(frames.flatten(0, 1)).flatten(1, 2)  # B * T, P, C
        tokens = torch.cat((self.cls_token.expand(len(patches), -1, -1), patches), 1)
        return tokens.unflatten(0, frames.shape[:2]) + self.temporal_position_embeddings[:, : frames.shape[1]]


class MeanOfPatches(nn.Module):
    """The normalised mean of the patches of each frame. (B, T, 1 + P, C) -> (B, T, C)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layernorm = nn.LayerNorm(dim, EPSILON)

    def forward(self, tokens: Tensor) -> Tensor:
        out: Tensor = self.layernorm(tokens[:, :, 1:].mean(2))
        return out


class BeitBlock(nn.Module):
    """Attention within frames, an MLP, and attention along time. (B, T, 1 + P, C) -> the same."""

    def __init__(self, dim: int, num_heads: int, mlp_size: int, side: int, drop_path: float, scale: float) -> None:
        super().__init__()
        self.lambda_1, self.lambda_2 = (nn.Parameter(torch.full((dim,), scale)) for _ in range(2))
        self.layernorm_before, self.layernorm_after = nn.LayerNorm(dim, EPSILON), nn.LayerNorm(dim, EPSILON)
        self.attention = Attended(dim, num_heads, side)
        self.intermediate, self.output = Dense(dim, mlp_size), Dense(mlp_size, dim)
        self.act, self.drop_path = nn.GELU(), DropPath(drop_path)
        self.temp_model = TemporalAttention(dim, drop_path=0.1)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.shape
        x = x.flatten(0, 1)
        x = x + self.drop_path(self.lambda_1 * self.attention(self.layernorm_before(x)))
        hidden = self.act(self.intermediate(self.layernorm_after(x)))
        x = x + self.drop_path(self.lambda_2 * self.output(hidden))
        out: Tensor = self.temp_model(x.view(shape))
        return out


class Attended(nn.Module):
    """Attention within frames and the layer after it. (N, 1 + P, C) -> the same."""

    def __init__(self, dim: int, num_heads: int, side: int) -> None:
        super().__init__()
        self.attention = FrameAttention(dim, num_heads, side)
        self.output = Dense(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.output(self.attention(x))
        return out


class FrameAttention(nn.Module):
    """Attention between the tokens of a frame, with a learned bias for each relative position and head.

    Keys have no bias. (N, 1 + P, C) -> the same.
    """

    def __init__(self, dim: int, num_heads: int, side: int) -> None:
        super().__init__()
        require(dim % num_heads == 0, f"num_heads must divide the {dim} channels, got {num_heads}")
        self.num_heads = num_heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim)
        self.relative_position_bias = RelativeBias(side, num_heads)

    def forward(self, x: Tensor) -> Tensor:
        bias = self.relative_position_bias().to(x.dtype)
        return attend(self.query(x), self.key(x), self.value(x), self.num_heads, mask=bias)


class RelativeBias(nn.Module):
    """A learned number for each relative position and head. () -> (1, h, 1 + P, 1 + P)."""

    relative_position_index: Tensor

    def __init__(self, side: int, num_heads: int) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * side - 1) ** 2 + 3, num_heads))
        self.register_buffer("relative_position_index", relative_positions(side))

    def forward(self) -> Tensor:
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)[None]


def relative_positions(side: int) -> Tensor:
    """Return (1 + P, 1 + P) int64: the number of the relative position of each pair of tokens.

    The class token is the first, and patches lie row by row in a square. The last three numbers are of the class token
    towards patches, of patches towards it, and of the class token towards itself.
    """
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    width = 2 * side - 1
    index = torch.empty((1 + side * side,) * 2, dtype=torch.int64)
    down, right = (x[:, None] - x + side - 1 for x in (rows, columns))
    index[1:, 1:] = down * width + right
    index[0], index[:, 0], index[0, 0] = width**2, width**2 + 1, width**2 + 2
    return index


class TemporalAttention(nn.Module):
    """Every token looks at the tokens of its place in all frames. (B, T, L, C) -> the same."""

    def __init__(self, dim: int, drop_path: float, head_width: int = 64) -> None:
        super().__init__()
        self.temporal_attn = PackedAttention(dim, max(1, dim // head_width))
        self.norm = nn.LayerNorm(dim, EPSILON)
        self.linear = nn.Linear(dim, dim).requires_grad_(False)  # published weights have it, and no network uses it
        self.drop_path = DropPath(drop_path)
        self.scale = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            return x
        along_time = self.norm(x).transpose(1, 2)  # B, L, T, C
        looked = self.temporal_attn(along_time.flatten(0, 1)).unflatten(0, along_time.shape[:2]).transpose(1, 2)
        return x + self.scale * self.drop_path(looked)
