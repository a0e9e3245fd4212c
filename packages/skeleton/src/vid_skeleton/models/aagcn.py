"""2s-AGCN (arXiv:1805.07694) and AAGCN (arXiv:1912.06971): graphs that are learned, and depend on the sample.

A graph convolution relates joints along ``A + alpha * B``: A (V, V) is learned for each of K subsets and starts from
the edges, B (V, V) is the similarity of the joints of this sample in an embedding of all its frames:

    x (N, C, T, V) -> embeddings (N, V, E * T) and (N, E * T, V) -> tanh of their mean product: B (N, V, V)

AAGCN adds attention over joints, frames and channels, one after the other (``gcn_attention``). Blocks are those of
ST-GCN.

Differences from the papers: B passes tanh instead of a softmax, and ``alpha`` starts from 0, as in AAGCN, also for
2s-AGCN. Names of parameters are those of published weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vid_skeleton.graphs import Graph
from vid_skeleton.models.layers import (
    Block,
    FixedMatrices,
    GraphBackbone,
    TemporalUnit,
    adjacency_of,
    block_plan,
    init_branch,
    projection,
    residual,
)
from vidcore.nn import require

__all__ = ["AAGCN"]


class AdaptiveUnit(FixedMatrices):
    """Graph convolution with graphs of the sample: (N, C, T, V) -> (N, C', T, V)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        adjacency: Tensor,
        coff_embedding: int,
        adaptive: bool,
        attention: bool,
    ) -> None:
        super().__init__()
        subsets, joints = adjacency.shape[:2]
        embedded = out_channels // coff_embedding
        require(embedded > 0, f"gcn_coff_embedding is {coff_embedding}, but a block has {out_channels} channels")
        self.adaptive, self.attention = adaptive, attention
        self.conv_d = nn.ModuleList(nn.Conv2d(in_channels, out_channels, 1) for _ in range(subsets))
        for conv in self.conv_d:
            init_branch(conv, subsets)
        if adaptive:
            self.A = nn.Parameter(adjacency.clone())
            self.alpha = nn.Parameter(torch.zeros(1))
            self.conv_a = nn.ModuleList(nn.Conv2d(in_channels, embedded, 1) for _ in range(subsets))
            self.conv_b = nn.ModuleList(nn.Conv2d(in_channels, embedded, 1) for _ in range(subsets))
        else:
            self.fix_matrices(adjacency)
        if attention:
            kernel = joints if joints % 2 else joints - 1
            self.conv_ta = nn.Conv1d(out_channels, 1, 9, padding=4)
            nn.init.zeros_(self.conv_ta.weight)
            self.conv_sa = nn.Conv1d(out_channels, 1, kernel, padding=(kernel - 1) // 2)
            nn.init.xavier_normal_(self.conv_sa.weight)
            self.fc1c = nn.Linear(out_channels, out_channels // 2)
            nn.init.kaiming_normal_(self.fc1c.weight)
            self.fc2c = nn.Linear(out_channels // 2, out_channels)
            nn.init.zeros_(self.fc2c.weight)
        self.down = projection(in_channels, out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.bn.weight, 1e-6)  # a block begins as its residual
        self.relu = nn.ReLU(inplace=True)

    def adjacency(self, x: Tensor, subset: int) -> Tensor:
        """Return the matrix of a subset: (V, V), or (N, V, V) where it depends on the sample."""
        fixed = self.A[subset]
        if not self.adaptive:
            return fixed
        one = self.conv_a[subset](x).permute(0, 3, 1, 2).flatten(2)
        other = self.conv_b[subset](x).flatten(1, 2)
        similar = torch.tanh(one @ other / one.shape[-1])
        return fixed + similar * self.alpha

    def forward(self, x: Tensor) -> Tensor:
        t = x.shape[2]
        rows = x.flatten(1, 2)
        parts = [conv((rows @ self.adjacency(x, i)).unflatten(1, (-1, t))) for i, conv in enumerate(self.conv_d)]
        y = self.bn(torch.stack(parts).sum(0))
        y = self.relu(y + self.down(x))
        return self.attend(y) if self.attention else y

    def attend(self, y: Tensor) -> Tensor:
        """Weight joints, frames and channels of (N, C, T, V)."""
        y = y * (1 + torch.sigmoid(self.conv_sa(y.mean(2)))[:, :, None])
        y = y * (1 + torch.sigmoid(self.conv_ta(y.mean(3)))[..., None])
        channels = torch.sigmoid(self.fc2c(torch.relu(self.fc1c(y.mean((2, 3))))))
        return y * (1 + channels[..., None, None])


class AAGCN(GraphBackbone):
    """2s-AGCN and AAGCN: joints (N, M, T, V, C) -> features (N, M, C', T', V).

    Args:
        graph_cfg: layout of the joints and adjacency of ``mode``; published: ``spatial``.
        in_channels: numbers per joint: 3 for x, y and score, or for x, y and z.
        base_channels: channels of the first block.
        data_bn_type: batch norm of the input: ``VC`` for each coordinate of each joint, ``MVC`` also for each person.
        num_person: persons of a clip, if ``data_bn_type`` is ``MVC``.
        num_stages: number of blocks.
        inflate_stages: blocks, counted from 1, that double the channels.
        down_stages: blocks, counted from 1, that halve the number of frames.
        gcn_coff_embedding: channels of a block divided by those of the embedding.
        gcn_adaptive: learn the graphs, and add those of the sample.
        gcn_attention: attention over joints, frames and channels: AAGCN; without it: 2s-AGCN.
        tcn_dropout: probability of zeroing an output of a temporal unit while training.
    """

    def __init__(
        self,
        graph_cfg: Graph,
        in_channels: int = 3,
        base_channels: int = 64,
        data_bn_type: Literal["VC", "MVC"] = "MVC",
        num_person: int = 2,
        num_stages: int = 10,
        inflate_stages: Sequence[int] = (5, 8),
        down_stages: Sequence[int] = (5, 8),
        gcn_coff_embedding: int = 4,
        gcn_adaptive: bool = True,
        gcn_attention: bool = True,
        tcn_dropout: float = 0.0,
    ) -> None:
        super().__init__(graph_cfg, in_channels, num_person, data_bn_type)
        adjacency = adjacency_of(graph_cfg)
        self.fix_matrices(adjacency)
        self.gcn = nn.ModuleList()
        plan = block_plan(in_channels, base_channels, num_stages, inflate_stages, down_stages)
        for i, (into, out, stride) in enumerate(plan):
            gcn = AdaptiveUnit(into, out, adjacency, gcn_coff_embedding, gcn_adaptive, gcn_attention)
            tcn = TemporalUnit(out, out, stride=stride, dropout=tcn_dropout)
            self.gcn.append(Block(gcn, tcn, residual(into, out, stride) if i else None))
