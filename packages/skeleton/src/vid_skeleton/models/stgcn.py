"""ST-GCN (arXiv:1801.07455) and ST-GCN++ (arXiv:2205.09443).

A block relates joints along the edges of the graph, then frames of each joint:

    joints (N, M, T, V, C) -> batch norm -> (N * M, C, T, V)
    10 blocks:  graph convolution  (C, T, V) -> (C', T, V)       sum over K subsets of edges
                temporal unit      (C', T, V) -> (C', T / s, V)  one convolution over 9 frames, or six branches
                + residual, ReLU
    -> (N, M, 256, T / 4, V)

ST-GCN multiplies the edges of the graph by learned weights (``importance``). ST-GCN++ learns the adjacency matrices
themselves (``init``), adds a residual to the graph convolution, and convolves over time in branches of different
dilation: ``gcn_adaptive = "init"``, ``gcn_with_res = true``, ``tcn_type = "mstcn"`` with ``mode = "spatial"``.

Differences from the papers: none in the network. Names of parameters are those of published weights.
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
    projection,
    residual,
)
from vidcore.nn import require

__all__ = ["STGCN", "MultiScaleUnit"]

Adaptive = Literal["init", "offset", "importance", "none"]


class GraphUnit(FixedMatrices):
    """Graph convolution: (N, C, T, V) -> (N, C', T, V)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        adjacency: Tensor,
        adaptive: Adaptive,
        conv_pos: Literal["pre", "post"],
        with_res: bool,
    ) -> None:
        super().__init__()
        self.subsets, self.adaptive, self.conv_pos = len(adjacency), adaptive, conv_pos
        if adaptive == "init":
            self.A = nn.Parameter(adjacency.clone())
        else:
            self.fix_matrices(adjacency)
        if adaptive == "offset":
            self.PA = nn.Parameter(torch.empty_like(adjacency).uniform_(-1e-6, 1e-6))
        elif adaptive == "importance":
            self.PA = nn.Parameter(torch.ones_like(adjacency))
        into, out = (
            (in_channels, out_channels * self.subsets)
            if conv_pos == "pre"
            else (
                in_channels * self.subsets,
                out_channels,
            )
        )
        self.conv = nn.Conv2d(into, out, 1)
        self.bn = nn.BatchNorm2d(out_channels)
        self.act = nn.ReLU(inplace=True)
        self.down = projection(in_channels, out_channels) if with_res else None

    def adjacency(self) -> Tensor:
        """Return the matrices in use: (K, V, V)."""
        if self.adaptive == "offset":
            return self.A + self.PA
        return self.A * self.PA if self.adaptive == "importance" else self.A

    def forward(self, x: Tensor) -> Tensor:
        if self.conv_pos == "pre":
            parts = self.conv(x).unflatten(1, (self.subsets, -1)).flatten(2, 3)  # (N, K, C' * T, V)
            y = (parts @ self.adjacency()).sum(1).unflatten(1, (-1, x.shape[2]))
        else:
            y = self.conv(torch.einsum("nctv,kvw->nkctw", x, self.adjacency()).flatten(1, 2))
        y = self.bn(y)
        return self.act(y if self.down is None else y + self.down(x))


class MultiScaleUnit(nn.Module):
    """Six branches over time, joined by a pointwise convolution: (N, C, T, V) -> (N, C, T / stride, V).

    Four convolve 3 frames that are 1, 2, 3 and 4 apart, one takes the maximum of 3 frames, one sees one frame.
    """

    def __init__(self, channels: int, stride: int, dropout: float = 0.0) -> None:
        super().__init__()
        narrow = channels // 6
        require(narrow > 0, f"tcn_type = 'mstcn' needs at least 6 channels, got {channels}: see base_channels")
        branches: list[nn.Module] = []
        for dilation in (1, 2, 3, 4):
            width = channels - 5 * narrow if dilation == 1 else narrow
            unit = TemporalUnit(width, width, 3, stride, dilation, norm=False)
            branches.append(nn.Sequential(*_entry(channels, width), unit))
        pool = nn.MaxPool2d((3, 1), (stride, 1), (1, 0))
        branches += [nn.Sequential(*_entry(channels, narrow), pool), nn.Conv2d(channels, narrow, 1, (stride, 1))]
        self.branches = nn.ModuleList(branches)
        self.transform = nn.Sequential(
            nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1)
        )
        self.bn = nn.BatchNorm2d(channels)
        self.drop = nn.Dropout(dropout, inplace=True)

    def join(self, x: Tensor) -> Tensor:
        """Return the outputs of all branches, side by side."""
        return torch.cat([branch(x) for branch in self.branches], 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.bn(self.transform(self.join(x))))
        return out


def _entry(channels: int, width: int) -> list[nn.Module]:
    return [nn.Conv2d(channels, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


class STGCN(GraphBackbone):
    """ST-GCN and ST-GCN++: joints (N, M, T, V, C) -> features (N, M, C', T', V).

    Args:
        graph_cfg: layout of the joints and adjacency of ``mode``, e.g. ``{layout = "coco", mode = "stgcn_spatial"}``.
        in_channels: numbers per joint: 3 for x, y and score, or for x, y and z.
        base_channels: channels of the first block.
        data_bn_type: batch norm of the input: ``VC`` for each coordinate of each joint, ``MVC`` also for each person.
        ch_ratio: channels of the blocks of ``inflate_stages`` are this times those before.
        num_person: persons of a clip; only ``MVC`` depends on it.
        num_stages: number of blocks.
        inflate_stages: blocks, counted from 1, with more channels.
        down_stages: blocks, counted from 1, that halve the number of frames.
        gcn_adaptive: ``init``: adjacency matrices are learned; ``importance``: multiplied by learned weights;
            ``offset``: learned numbers are added; ``none``: fixed.
        gcn_conv_pos: convolve before (``pre``) or after (``post``) joints are related.
        gcn_with_res: add the input to the graph convolution.
        tcn_type: ``unit_tcn``: one convolution over 9 frames; ``mstcn``: branches of different dilation.
        tcn_dropout: probability of zeroing an output of a temporal unit while training.
    """

    def __init__(
        self,
        graph_cfg: Graph,
        in_channels: int = 3,
        base_channels: int = 64,
        data_bn_type: Literal["VC", "MVC"] = "VC",
        ch_ratio: float = 2,
        num_person: int = 2,
        num_stages: int = 10,
        inflate_stages: Sequence[int] = (5, 8),
        down_stages: Sequence[int] = (5, 8),
        gcn_adaptive: Adaptive = "importance",
        gcn_conv_pos: Literal["pre", "post"] = "pre",
        gcn_with_res: bool = False,
        tcn_type: Literal["unit_tcn", "mstcn"] = "unit_tcn",
        tcn_dropout: float = 0.0,
    ) -> None:
        super().__init__(graph_cfg, in_channels, num_person, data_bn_type)
        adjacency = adjacency_of(graph_cfg)
        self.gcn = nn.ModuleList()
        plan = block_plan(in_channels, base_channels, num_stages, inflate_stages, down_stages, ch_ratio)
        for i, (into, out, stride) in enumerate(plan):
            gcn = GraphUnit(into, out, adjacency, gcn_adaptive, gcn_conv_pos, gcn_with_res)
            unit = TemporalUnit(out, out, stride=stride, dropout=tcn_dropout)
            tcn = unit if tcn_type == "unit_tcn" else MultiScaleUnit(out, stride, tcn_dropout)
            self.gcn.append(Block(gcn, tcn, residual(into, out, stride) if i else None))
