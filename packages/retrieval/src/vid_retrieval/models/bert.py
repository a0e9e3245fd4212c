"""BERT with cross-attention to videos (arXiv:1810.04805; ALBEF, Li et al. 2021, arXiv:2107.07651).

The first blocks read a text alone; in the others, every token also looks at the tokens of a video. A decoder of the
same blocks writes answers, word by word.

Differs from published networks: no pooler, which has no effect there.

Shapes: N texts, L tokens, M tokens of a video, C channels, W entries of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vid_retrieval.models.parts import Dense, Layers
from vidcore.nn import require
from vidcore.nn.checkpointing import run_blocks
from vidcore.nn.transformer import attend, init_transformer

__all__ = ["PAD", "BertDecoder", "XBertModel"]

EPSILON = 1e-12
PAD = 0
"""Token that fills up a text."""


class XBertModel(nn.Module):
    """BERT, whose blocks from ``fusion_layer`` on look at a video too.

    Args:
        vocab_size: W.
        hidden_size: C.
        num_hidden_layers: number of blocks.
        num_heads: attention heads; divides C.
        mlp_size: hidden channels of the MLPs.
        fusion_layer: the first block, counted from 0, with attention to the video.
        encoder_width: channels of the tokens of the video.
        max_positions: most tokens of a text.
        dropout: probability of zeroing a channel, and of dropping a weight of the attention, while training.
        with_cp: gradient checkpointing of the blocks.

    ``forward``: token ids (N, L) int64, filled up with 0, and the tokens of a video for each (N, M, encoder_width) ->
    (N, L, C). ``read`` and ``fuse`` are its first and second half.

    Raises ``ValueError`` if an argument is not valid.
    """

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_heads: int = 12,
        mlp_size: int = 3072,
        fusion_layer: int = 9,
        encoder_width: int = 768,
        max_positions: int = 512,
        dropout: float = 0.1,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        require(
            0 <= fusion_layer <= num_hidden_layers,
            f"fusion_layer must be from 0 to num_hidden_layers {num_hidden_layers}, got {fusion_layer}",
        )
        self.hidden_size, self.encoder_width, self.fusion_layer = hidden_size, encoder_width, fusion_layer
        self.with_cp = with_cp
        self.embeddings = Embeddings(vocab_size, hidden_size, max_positions, dropout)
        self.encoder = Layers(
            Block(hidden_size, num_heads, mlp_size, encoder_width if i >= fusion_layer else None, dropout)
            for i in range(num_hidden_layers)
        )
        init_transformer(self)
        for table in (m for m in self.embeddings.children() if isinstance(m, nn.Embedding)):
            nn.init.normal_(table.weight, std=0.02)

    def read(self, ids: Tensor) -> Tensor:
        """Return (N, L, C) states of texts alone."""
        return self._run(self.encoder.layer[: self.fusion_layer], self.embeddings(ids), text_mask(ids), None)

    def fuse(self, states: Tensor, ids: Tensor, video: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (N, L, C) states of texts that look at a video.

        Args:
            states: of ``read``.
            ids: (N, L).
            video: (N, M, encoder_width).
            mask: (N or 1, 1, L or 1, M) bool: tokens of the video that take part; default: all.
        """
        return self._run(self.encoder.layer[self.fusion_layer :], states, text_mask(ids), video, mask)

    def forward(self, ids: Tensor, video: Tensor) -> Tensor:
        return self.fuse(self.read(ids), ids, video)

    def _run(
        self,
        blocks: Iterable[nn.Module],
        x: Tensor,
        mask: Tensor,
        video: Tensor | None,
        video_mask: Tensor | None = None,
    ) -> Tensor:
        out: Tensor = run_blocks(blocks, x, mask, video, video_mask, with_cp=self.with_cp and self.training)
        return out


def text_mask(ids: Tensor, causal: bool = False) -> Tensor:
    """Return (N, 1, 1 or L, L) bool: tokens that others may look at. The first always is, so that no row is empty."""
    mask = ids != PAD
    mask[:, 0] = True
    square = mask[:, None, None]
    return square & torch.ones_like(mask[0]).diag_embed().cumsum(0).bool() if causal else square


class Embeddings(nn.Module):
    """Embeddings of tokens and of their positions. (N, L) -> (N, L, C)."""

    position_ids: Tensor

    def __init__(self, vocab_size: int, dim: int, max_positions: int, dropout: float) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(vocab_size, dim, padding_idx=PAD)
        self.position_embeddings = nn.Embedding(max_positions, dim)
        self.token_type_embeddings = nn.Embedding(2, dim)  # all tokens are of the first type
        self.LayerNorm = nn.LayerNorm(dim, EPSILON)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("position_ids", torch.arange(max_positions)[None])  # as in published weights

    def forward(self, ids: Tensor) -> Tensor:
        positions = self.position_embeddings(self.position_ids[:, : ids.shape[1]])
        words = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        out: Tensor = self.dropout(self.LayerNorm(words + positions))
        return out


class Block(nn.Module):
    """Attention within the text, perhaps attention to the video, and an MLP; layer norms follow the sums.

    ``forward``: (N, L, C), mask of the text, tokens of the video, their mask -> (N, L, C).
    """

    def __init__(self, dim: int, num_heads: int, mlp_size: int, video_dim: int | None, dropout: float) -> None:
        super().__init__()
        self.attention = BertAttention(dim, dim, num_heads, dropout)
        if video_dim is not None:
            self.crossattention = BertAttention(dim, video_dim, num_heads, dropout)
        self.looks_at_video = video_dim is not None
        self.intermediate = Dense(dim, mlp_size)
        self.act = nn.GELU()
        self.output = Residual(mlp_size, dim, dropout)

    def forward(self, x: Tensor, mask: Tensor, video: Tensor | None, video_mask: Tensor | None) -> Tensor:
        x = self.attention(x, x, mask)
        if self.looks_at_video and video is not None:
            x = self.crossattention(x, video, video_mask)
        out: Tensor = self.output(self.act(self.intermediate(x)), x)
        return out


class BertAttention(nn.Module):
    """Attention with a residual. (N, L, C), tokens (N, M, C') to look at, mask -> (N, L, C)."""

    def __init__(self, dim: int, tokens_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        require(dim % num_heads == 0, f"num_heads must divide the {dim} channels, got {num_heads}")
        self.num_heads, self.attn_dropout = num_heads, dropout
        self.add_module("self", Projections(dim, tokens_dim))
        self.output = Residual(dim, dim, dropout)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        dropout = self.attn_dropout if self.training else 0.0
        query, key, value = self.get_submodule("self")(x, tokens)
        out: Tensor = self.output(attend(query, key, value, self.num_heads, mask=mask, dropout=dropout), x)
        return out


class Projections(nn.Module):
    """Queries of (N, L, C), keys and values of (N, M, C')."""

    def __init__(self, dim: int, tokens_dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(tokens_dim, dim), nn.Linear(tokens_dim, dim)

    def forward(self, x: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.query(x), self.key(tokens), self.value(tokens)


class Residual(nn.Module):
    """A linear layer, added to a shortcut, and a layer norm. (..., C'), (..., C) -> (..., C)."""

    def __init__(self, in_dim: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(in_dim, dim)
        self.LayerNorm = nn.LayerNorm(dim, EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, shortcut: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.dropout(self.dense(x)) + shortcut)
        return out


class BertDecoder(nn.Module):
    """Writes a text, token by token, while it looks at other states.

    Args:
        vocab_size: W.
        hidden_size: C.
        num_hidden_layers: number of blocks; all of them look at the states.
        num_heads: attention heads; divides C.
        mlp_size: hidden channels of the MLPs.
        encoder_width: channels of the states.
        max_positions: most tokens of a text.
        dropout: as for ``XBertModel``.
        with_cp: gradient checkpointing of the blocks.

    ``forward``: ids (N, L), states (N, M, encoder_width), and their mask -> logits (N, L, W) of the token after each.
    """

    def __init__(
        self,
        vocab_size: int = 30522,
        hidden_size: int = 768,
        num_hidden_layers: int = 3,
        num_heads: int = 12,
        mlp_size: int = 3072,
        encoder_width: int = 768,
        max_positions: int = 512,
        dropout: float = 0.1,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        sizes = (vocab_size, hidden_size, num_hidden_layers, num_heads, mlp_size, 0, encoder_width, max_positions)
        self.bert = XBertModel(*sizes, dropout, with_cp)
        self.cls = Head(vocab_size, hidden_size)

    def forward(self, ids: Tensor, states: Tensor, mask: Tensor | None = None) -> Tensor:
        blocks = self.bert.encoder.layer
        x = self.bert._run(blocks, self.bert.embeddings(ids), text_mask(ids, causal=True), states, mask)
        predictions = self.cls.predictions
        return F.linear(predictions.transform(x), self.bert.embeddings.word_embeddings.weight, predictions.bias)

    def surprise(self, ids: Tensor, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (N,): the negative log likelihood of the tokens after the first, summed over each text."""
        logits = self(ids, states, mask)[:, :-1].float()
        wanted = ids[:, 1:].masked_fill(ids[:, 1:] == PAD, -100)
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none").view(wanted.shape).sum(1)


class Head(nn.Module):
    """What follows the blocks of a decoder, in two layers of names."""

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.predictions = Predictions(vocab_size, dim)


class Predictions(nn.Module):
    """The layer before the vocabulary, and a bias for each of its entries; their weights are those of the words."""

    def __init__(self, vocab_size: int, dim: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.transform = Transform(dim)


class Transform(nn.Module):
    """The layer before the vocabulary. (..., C) -> the same."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.act = nn.GELU()
        self.LayerNorm = nn.LayerNorm(dim, EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.act(self.dense(x)))
        return out
