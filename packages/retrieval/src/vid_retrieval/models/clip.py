"""CLIP: a vision transformer and a text transformer with a joint space.

Paper: Learning Transferable Visual Models From Natural Language Supervision, arXiv:2103.00020 (sections 2.3 to 2.5).
Shapes: N images, M texts, L tokens (1 + patches, or words), C channels of a tower, D channels of the joint space.
What differs: vision transformers only, no ResNets; the temperature is held below 100 without stopping its gradient.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vidcore.errors import CheckpointError, UserError
from vidcore.nn import ClipBlock, PositionTables, guess_grid, require, resize_positions

__all__ = ["CLIP", "ClipTransformer", "ImageTower", "convert_clip_weights"]

Arch = Literal["ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px", "ViT-H/14"]
SIZES: dict[str, dict[str, int]] = {
    "ViT-B/32": {"patch_size": 32},
    "ViT-B/16": {"patch_size": 16},
    "ViT-L/14": {"patch_size": 14, "image_width": 1024, "image_layers": 24, "image_heads": 16}
    | {"text_width": 768, "text_heads": 12, "embed_dim": 768},
}
SIZES["ViT-L/14@336px"] = SIZES["ViT-L/14"] | {"image_size": 336}
SIZES["ViT-H/14"] = {"patch_size": 14, "image_width": 1280, "image_layers": 32, "image_heads": 16} | {
    "text_width": 1024,
    "text_layers": 24,
    "text_heads": 16,
    "embed_dim": 1024,
}
"""Sizes of published networks, where they differ from those of ``BASE``; ViT-H/14 is OpenCLIP's."""
BASE = {
    "embed_dim": 512,
    "image_size": 224,
    "patch_size": 32,
    "image_width": 768,
    "image_layers": 12,
    "image_heads": 12,
    "context_length": 77,
    "vocab_size": 49408,
    "text_width": 512,
    "text_layers": 12,
    "text_heads": 8,
}
HOTTEST = math.log(100)
"""Largest logarithm of the temperature (section 2.5)."""


class ClipTransformer(nn.Module):
    """The blocks of a tower; ``causal`` tokens see only themselves and those before them.

    ``forward``: (N, L, C) -> the same.
    """

    def __init__(
        self, width: int, layers: int, heads: int, causal: bool = False, act: type[nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.causal = causal
        self.resblocks = nn.ModuleList(ClipBlock(width, heads, act=act() if act else None) for _ in range(layers))
        for block in self.resblocks:  # deviations of the paper's networks
            deep = width**-0.5 * (2 * layers) ** -0.5
            nn.init.normal_(block.get_parameter("attn.in_proj_weight"), std=width**-0.5)
            nn.init.normal_(block.get_parameter("attn.out_proj.weight"), std=deep)
            nn.init.normal_(block.get_parameter("mlp.c_fc.weight"), std=(2 * width) ** -0.5)
            nn.init.normal_(block.get_parameter("mlp.c_proj.weight"), std=deep)

    def forward(self, x: Tensor) -> Tensor:
        mask = None
        if self.causal:
            mask = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        for block in self.resblocks:
            x = block(x, mask=mask)
        return x


class ImageTower(PositionTables):
    """The vision transformer: (N, 3, H, W), normalised -> (N, D)."""

    position_tables = ("positional_embedding",)

    def __init__(
        self,
        size: int,
        patch_size: int,
        width: int,
        layers: int,
        heads: int,
        embed_dim: int,
        act: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        require(size % patch_size == 0, f"image_size must be a multiple of the patch size {patch_size}, got {size}")
        self.size, self.patch_size = size, patch_size
        scale = width**-0.5
        self.conv1 = nn.Conv2d(3, width, patch_size, patch_size, bias=False)
        self.class_embedding = nn.Parameter(scale * torch.randn(width))
        self.positional_embedding = nn.Parameter(scale * torch.randn(1 + (size // patch_size) ** 2, width))
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = ClipTransformer(width, layers, heads, act=act)
        self.ln_post = nn.LayerNorm(width)
        self.proj = nn.Parameter(scale * torch.randn(width, embed_dim))

    def resize_table(self, name: str, table: Tensor) -> Tensor:
        """Interpolate positions in space, after the class token."""
        side = self.size // self.patch_size
        return resize_positions(table, guess_grid(len(table) - 1, (1, side, side)), (1, side, side), prefix=1)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (self.size, self.size):
            raise UserError(
                f"this CLIP takes images of {self.size} x {self.size} pixels, and got {x.shape[-2]} x {x.shape[-1]}: "
                "see the resizes and crops of the pipeline, or image_size of the model with train.weights_resize"
            )
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.class_embedding.expand(len(x), 1, -1), x), 1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class CLIP(nn.Module):
    """Both towers and the temperature.

    Args:
        arch: a published network, whose sizes are the defaults of the other arguments.
        embed_dim: D.
        image_size: height and width of an image, in pixels.
        patch_size: height and width of a patch.
        image_width, image_layers, image_heads: C, blocks and attention heads of the image tower.
        context_length: largest number of tokens of a text.
        vocab_size: number of tokens; a text ends with the largest of its tokens.
        text_width, text_layers, text_heads: C, blocks and attention heads of the text tower.
        activation: of the MLPs: ``quick_gelu`` in OpenAI's networks and those of others that say so, otherwise
            ``gelu``. Weights do not tell.

    Raises ``ValueError`` if a size is not valid.
    """

    def __init__(
        self,
        arch: Arch = "ViT-B/32",
        embed_dim: int | None = None,
        image_size: int | None = None,
        patch_size: int | None = None,
        image_width: int | None = None,
        image_layers: int | None = None,
        image_heads: int | None = None,
        context_length: int | None = None,
        vocab_size: int | None = None,
        text_width: int | None = None,
        text_layers: int | None = None,
        text_heads: int | None = None,
        activation: Literal["quick_gelu", "gelu"] = "quick_gelu",
    ) -> None:
        super().__init__()
        given = {"embed_dim": embed_dim, "image_size": image_size, "patch_size": patch_size}
        given |= {"image_width": image_width, "image_layers": image_layers, "image_heads": image_heads}
        given |= {"context_length": context_length, "vocab_size": vocab_size}
        given |= {"text_width": text_width, "text_layers": text_layers, "text_heads": text_heads}
        sizes = BASE | SIZES[arch] | {name: size for name, size in given.items() if size is not None}
        for name, size in sizes.items():
            require(size > 0, f"{name} must be positive, got {size}")
        act = nn.GELU if activation == "gelu" else None
        self.embed_dim, self.image_size = sizes["embed_dim"], sizes["image_size"]
        self.context_length, self.vocab_size = sizes["context_length"], sizes["vocab_size"]
        self.visual = ImageTower(
            sizes["image_size"],
            sizes["patch_size"],
            sizes["image_width"],
            sizes["image_layers"],
            sizes["image_heads"],
            sizes["embed_dim"],
            act,
        )
        width = sizes["text_width"]
        self.token_embedding = nn.Embedding(sizes["vocab_size"], width)
        self.positional_embedding = nn.Parameter(0.01 * torch.randn(sizes["context_length"], width))
        self.transformer = ClipTransformer(width, sizes["text_layers"], sizes["text_heads"], causal=True, act=act)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = nn.Parameter(width**-0.5 * torch.randn(width, sizes["embed_dim"]))
        self.logit_scale = nn.Parameter(torch.tensor([math.log(1 / 0.07)]))  # sharding refuses scalars
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def encode_images(self, images: Tensor) -> Tensor:
        """Embed normalised images: (N, 3, H, W) -> (N, D), of any length."""
        out: Tensor = self.visual(images)
        return out

    def encode_texts(self, ids: Tensor) -> Tensor:
        """Embed texts: (M, L) int64 ids, zeros after the last token -> (M, D), of any length.

        Raises ``UserError`` if they have more tokens than ``context_length``, or are of a larger vocabulary.
        """
        if ids.shape[1] > self.context_length or (not torch.compiler.is_compiling() and ids.max() >= self.vocab_size):
            raise UserError(
                f"texts have {ids.shape[1]} ids up to {int(ids.max())}, and this CLIP reads {self.context_length} ids "
                f"below {self.vocab_size}: see vocabulary and context_length of CLIPTokenize"
            )
        last = ids.argmax(1)
        if not torch.compiler.is_compiling():
            ids = ids[:, : int(last.max()) + 1]  # tokens after the last one change nothing
        x = self.transformer(self.token_embedding(ids) + self.positional_embedding[: ids.shape[1]])
        return self.ln_final(x[torch.arange(len(x), device=x.device), last]) @ self.text_projection

    def forward(self, images: Tensor, ids: Tensor) -> Tensor:
        """Return (N, M) logits of all pairs: their cosines, times the temperature."""
        towers = (self.encode_images(images).float(), self.encode_texts(ids).float())
        first, second = (F.normalize(rows, dim=-1) for rows in towers)
        return self.temperature * first @ second.T

    @property
    def temperature(self) -> Tensor:
        """(1,) factor on cosines in a loss, at most 100; with a gradient also where it is held."""
        above = (self.logit_scale - HOTTEST).clamp(min=0).detach()
        return (self.logit_scale - above).exp()

    def freeze(self, layers: int) -> None:
        """Stop training of the embeddings and the first blocks of both towers; -1: nothing.

        Raises ``ValueError`` if there are fewer blocks.
        """
        towers = (self.visual.transformer.resblocks, self.transformer.resblocks)
        most = max(map(len, towers))
        require(-1 <= layers <= most, f"frozen_layers must be from -1 to {most}, got {layers}")
        if layers < 0:
            return
        parts: list[nn.Module | nn.Parameter] = [self.positional_embedding, self.token_embedding]
        parts += [
            p for name, p in self.visual.named_parameters() if not name.startswith(("transformer.", "ln_post.", "proj"))
        ]
        parts += [block for tower in towers for block in tower[:layers]]
        for part in parts:
            part.requires_grad_(False)


def convert_clip_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a published CLIP under the names of ``CLIP``.

    These are the names of OpenAI's release, which are also ours, those of OpenCLIP, also with its text tower under
    ``text.``, and those of ``transformers``. Numbers such as ``input_resolution``, which follow from the architecture,
    are left out.

    Raises:
        CheckpointError: a layer of ``transformers`` lacks its query, key or value.
    """
    constants = ("input_resolution", "context_length", "vocab_size", "attn_mask", "position_ids")
    kept = {key: value for key, value in state.items() if key.rpartition(".")[2] not in constants}
    if any(key.startswith(("vision_model.", "text_model.")) for key in kept):
        return _of_transformers(kept)
    return {key.removeprefix("text."): value for key, value in kept.items()}


RENAMED = (
    (r"^vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"^vision_model\.embeddings\.patch_embedding\.weight$", "visual.conv1.weight"),
    (r"^vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"^vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"^vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"^visual_projection\.weight$", "visual.proj"),
    (r"^text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"^text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"^text_model\.final_layer_norm\.", "ln_final."),
    (r"^text_projection\.weight$", "text_projection"),
    (r"^vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"^text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"\.self_attn\.out_proj\.", ".attn.out_proj."),
    (r"\.layer_norm([12])\.", r".ln_\1."),
    (r"\.mlp\.fc1\.", ".mlp.c_fc."),
    (r"\.mlp\.fc2\.", ".mlp.c_proj."),
)
"""Names of ``transformers`` (patterns) and ours; it stores projections as linear layers, and q, k and v separately."""


def _of_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    named: dict[str, Tensor] = {}
    packed: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        name = key
        for pattern, new in RENAMED:
            name = re.sub(pattern, new, name)
        if found := re.fullmatch(r"(.+)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
            packed.setdefault(f"{found[1]}.attn.in_proj_{found[3]}", {})[found[2]] = value
        else:
            named[name] = value.t() if name in ("visual.proj", "text_projection") else value
    for name, parts in packed.items():
        if missing := next((part for part in "qkv" if part not in parts), None):
            raise CheckpointError(f"{name}: the weights lack {missing}_proj of this layer")
        named[name] = torch.cat([parts[part] for part in "qkv"])
    return named
