"""Video Swin: a Swin transformer on clips, whose windows extend over time.

Paper: Video Swin Transformer, arXiv:2106.13230.
Shapes: N clips, T frames, H height, W width in patches, C channels; input (N, 3, 2T, 4H, 4W), output
(N, 8C, T, H/8, W/8). The number of frames stays, only height and width are halved between stages.
What differs: clips of any size; those that do not divide into patches or windows are padded. Windows of inputs that are
smaller than a window have the position biases of their offsets; ``bias_of_small_windows`` gives the published ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from math import isqrt, prod
from typing import Literal

from attrs import frozen
from torch import Tensor, nn

from vid_recognition.models.swin_blocks import SwinBackbone, SwinOptions
from vid_recognition.models.weights import of_backbone
from vidcore.errors import CheckpointError

__all__ = ["SwinSize", "SwinTransformer3D"]

FINAL_NORM = re.compile(r"^norm\.")
TABLE = "relative_position_bias_table"


@frozen
class SwinSize:
    """Size of a Swin transformer (section 3.3)."""

    embed_dims: int
    """Channels of the first stage; each stage doubles them."""
    depths: Sequence[int]
    """Blocks per stage."""
    num_heads: Sequence[int]
    """Attention heads of each stage."""


SIZES = {
    "tiny": SwinSize(96, (2, 2, 6, 2), (3, 6, 12, 24)),
    "small": SwinSize(96, (2, 2, 18, 2), (3, 6, 12, 24)),
    "base": SwinSize(128, (2, 2, 18, 2), (4, 8, 16, 32)),
    "large": SwinSize(192, (2, 2, 18, 2), (6, 12, 24, 48)),
}


class SwinTransformer3D(SwinBackbone):
    """Video Swin transformer (arXiv:2106.13230).

    Args:
        arch: ``tiny``, ``small``, ``base`` or ``large``, or a size of its own.
        patch_size: size of a patch: frames, height and width.
        in_channels: channels of a frame.
        window_size: size of a window in patches: time, height and width.
        mlp_ratio: ratio of hidden to outer channels of an MLP.
        qkv_bias: whether queries, keys and values have a bias.
        qk_scale: factor on the products of queries and keys; default: 1 / sqrt(channels of a head).
        drop_rate: dropout after the embedding, the attention and the layers of an MLP.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth: probability of skipping the last block, growing linearly from 0 at the first.
        patch_norm: whether the embedding ends with a layer norm.
        out_indices: stages (from 0) whose outputs are returned, each after a layer norm.
        out_after_downsample: whether the output of a stage is that of the patch merging after it.
        bias_of_small_windows: position biases in windows that are smaller than ``window_size`` because the input is:
            ``offset`` or, as in the published networks, ``first``; see ``swin_blocks.relative_index``.
        frozen_stages, with_cp: see ``Backbone``; the stem is the patch embedding.

    ``forward``: (N, in_channels, T, H, W) -> (N, C, T', H', W'), or a tuple of these.
    """

    def __init__(
        self,
        arch: Literal["tiny", "small", "base", "large"] | SwinSize,
        patch_size: tuple[int, int, int] = (2, 4, 4),
        in_channels: int = 3,
        window_size: tuple[int, int, int] = (8, 7, 7),
        mlp_ratio: float = 4.0,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.1,
        patch_norm: bool = True,
        out_indices: Sequence[int] = (3,),
        out_after_downsample: bool = False,
        bias_of_small_windows: Literal["offset", "first"] = "offset",
        frozen_stages: int = -1,
        with_cp: bool = False,
    ) -> None:
        size = arch if isinstance(arch, SwinSize) else SIZES[arch]
        super().__init__(
            SwinOptions(
                tuple(window_size), mlp_ratio, qkv_bias, qk_scale, drop_rate, attn_drop_rate, bias_of_small_windows
            ),
            embed_dim=size.embed_dims,
            depths=size.depths,
            num_heads=size.num_heads,
            patch_size=patch_size,
            in_channels=in_channels,
            patch_norm=patch_norm,
            drop_path_rate=drop_path_rate,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            with_cp=with_cp,
        )
        self.window_size = tuple(window_size)
        self.out_after_downsample = out_after_downsample
        last = len(size.depths) - 1
        for i in self.out_indices:
            stage = min(i + 1, last) if out_after_downsample else i
            self.add_module(f"norm{i}", nn.LayerNorm(self.widths[stage]))
        self.freeze()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = []
        for i, (before, after) in enumerate(self.run_stages(x)):
            if i in self.out_indices:
                tokens = after if self.out_after_downsample else before
                outputs.append(self.get_submodule(f"norm{i}")(tokens).movedim(-1, 1))
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def convert_2d_weights(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a Swin transformer on images under the names of this network (section 3.4).

        The kernel of the embedding is repeated over time and divided by its length, position biases are repeated for
        each distance in time, and the final norm becomes that of the last stage.

        Raises:
            CheckpointError: they belong to a different network, or have windows of a different size.
        """
        weights = {}
        for name, value in of_backbone(state_dict).items():
            key = FINAL_NORM.sub(f"norm{self.num_stages - 1}.", name)
            if key == name or self.num_stages - 1 in self.out_indices:
                weights[key] = self._repeat_over_time(key, value) if key.endswith(TABLE) else value
        for i in self.out_indices:  # those after other stages are not in image networks
            for name, value in self.get_submodule(f"norm{i}").named_parameters(f"norm{i}"):
                weights.setdefault(name, value.detach())
        return super().convert_2d_weights(weights)

    def _repeat_over_time(self, key: str, table: Tensor) -> Tensor:
        """Return the position biases of a window on clips, given those on images: (rows, h) -> (rows', h)."""
        time, *sides = (2 * length - 1 for length in self.window_size)
        if len(table) == time * prod(sides):
            return table
        if len(table) != prod(sides):
            side = (isqrt(len(table)) + 1) // 2
            raise CheckpointError(
                f"{key} is for windows of {side} x {side} patches, and backbone.window_size is "
                f"{list(self.window_size)}; train.weights_resize = true resizes it"
            )
        return table.repeat(time, 1)
