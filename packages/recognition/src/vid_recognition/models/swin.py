"""Swin transformer on frames.

Paper: Swin Transformer: Hierarchical Vision Transformer using Shifted Windows, arXiv:2103.14030.
Shapes: N frames, H height, W width in patches, C channels; input (N, 3, 4H, 4W), output (N, 8C, H/8, W/8).
What differs: frames of any size; those that do not divide into windows are padded inside each block.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from vid_recognition.models.swin_blocks import SwinBackbone, SwinOptions

__all__ = ["SwinTransformer"]


class SwinTransformer(SwinBackbone):
    """Swin transformer (arXiv:2103.14030); default: Swin-B.

    Args:
        embed_dim: channels of the first stage.
        depths: blocks per stage.
        num_heads: attention heads of each stage.
        window_size: side of a window, in patches.
        mlp_ratio: ratio of hidden to outer channels of an MLP.
        patch_size: side of a patch, in pixels.
        in_channels: channels of a frame.
        drop_path_rate: stochastic depth: probability of skipping the last block, growing linearly from 0 at the first.
        frozen_stages, with_cp: see ``Backbone``; the stem is the patch embedding.

    ``forward``: (N, in_channels, H, W) -> (N, C, H', W').
    """

    def __init__(
        self,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        num_heads: Sequence[int] = (4, 8, 16, 32),
        window_size: int = 7,
        mlp_ratio: float = 4.0,
        patch_size: int = 4,
        in_channels: int = 3,
        drop_path_rate: float = 0.1,
        frozen_stages: int = -1,
        with_cp: bool = False,
    ) -> None:
        super().__init__(
            SwinOptions((window_size, window_size), mlp_ratio),
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            patch_size=(patch_size, patch_size),
            in_channels=in_channels,
            patch_norm=True,
            drop_path_rate=drop_path_rate,
            out_indices=(len(depths) - 1,),
            frozen_stages=frozen_stages,
            with_cp=with_cp,
        )
        self.norm = nn.LayerNorm(self.widths[-1])
        self.freeze()

    def forward(self, x: Tensor) -> Tensor:
        *_, (tokens, _) = self.run_stages(x)
        return self.norm(tokens).permute(0, 3, 1, 2)
