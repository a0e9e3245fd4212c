"""Adapters: from embeddings of frames to an embedding of their video (CLIP4Clip, arXiv:2104.08860, section 3.3).

Shapes: B videos, T frames, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vid_retrieval.models.clip import ClipTransformer
from vidcore.errors import UserError
from vidcore.nn import require

__all__ = ["FrameAdapter", "SimpleMeanAdapter", "TransformerAdapter"]


class FrameAdapter(nn.Module):
    """Base class of adapters. ``forward``: (B, T, D) -> (B, D)."""

    frames: int | None = None
    """Number of frames that it takes; None: any."""

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class SimpleMeanAdapter(FrameAdapter):
    """The mean over frames, without parameters.

    Args:
        dim: axes to average.
    """

    def __init__(self, dim: int | tuple[int, ...] = 1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.dim)


class TransformerAdapter(FrameAdapter):
    """A transformer on the frames, with a table of their positions and a shortcut, then the mean.

    Args:
        num_segs: T.
        transformer_width: D.
        transformer_heads: attention heads.
        transformer_layers: blocks.
    """

    def __init__(self, num_segs: int, transformer_width: int, transformer_heads: int, transformer_layers: int) -> None:
        super().__init__()
        require(num_segs > 0, f"num_segs must be positive, got {num_segs}")
        self.frames = num_segs
        self.positional_embedding = nn.Parameter(transformer_width**-0.5 * torch.randn(num_segs, transformer_width))
        self.transformer = ClipTransformer(transformer_width, transformer_layers, transformer_heads)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.positional_embedding.shape:
            frames, width = self.positional_embedding.shape
            raise UserError(
                f"TransformerAdapter takes {frames} frames of {width} channels, and got {x.shape[1]} of {x.shape[2]}: "
                "see num_segs and transformer_width, and the number of frames in the pipeline"
            )
        return (x + self.transformer(x + self.positional_embedding)).mean(1)
