"""CTR-GCN (arXiv:2107.12213): a graph for each channel.

A graph convolution adds to the adjacency matrix of a subset, which is learned, a refinement per channel and sample:

    x (N, C, T, V) -> mean over frames -> two embeddings (N, R, V)
    tanh of their differences (N, R, V, V) -> pointwise convolution (N, C', V, V) * alpha + A (V, V)

A block is a graph convolution of K subsets, temporal branches (5 frames, dilations 1 and 2, a maximum, one frame),
residual and ReLU. Ten blocks: (N * M, 3, T, V) -> (N * M, 256, T / 4, V).

Differences from the paper: none known. Names of parameters are those of published weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vid_skeleton.graphs import Graph
from vid_skeleton.models.branches import MultiScaleBranches
from vid_skeleton.models.layers import GraphBackbone, adjacency_of, block_plan, projection, residual

__all__ = ["CTRGCN"]


class Refinement(nn.Module):
    """Graph convolution of one subset, with a graph for each channel: (N, C, T, V) -> (N, C', T, V)."""

    def __init__(self, in_channels: int, out_channels: int, rel_reduction: int) -> None:
        super().__init__()
        related = 8 if in_channels <= 16 else in_channels // rel_reduction
        self.conv1 = nn.Conv2d(in_channels, related, 1)
        self.conv2 = nn.Conv2d(in_channels, related, 1)
        self.conv3 = nn.Conv2d(in_channels, out_channels, 1)
        self.conv4 = nn.Conv2d(related, out_channels, 1)
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            nn.init.kaiming_normal_(conv.weight, mode="fan_out")
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, adjacency: Tensor, alpha: Tensor) -> Tensor:
        # a pointwise convolution and a mean over frames commute
        pooled = x.mean(2, keepdim=True)
        one, other = self.conv1(pooled).squeeze(2), self.conv2(pooled).squeeze(2)
        refined = self.conv4(torch.tanh(one[..., :, None] - other[..., None, :])) * alpha + adjacency
        out: Tensor = self.conv3(x) @ refined
        return out


class ChannelUnit(nn.Module):
    """Sum over subsets, batch norm, residual and ReLU: (N, C, T, V) -> (N, C', T, V)."""

    def __init__(self, in_channels: int, out_channels: int, adjacency: Tensor, rel_reduction: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Refinement(in_channels, out_channels, rel_reduction) for _ in adjacency)
        self.A = nn.Parameter(adjacency.clone())
        self.alpha = nn.Parameter(torch.zeros(1))
        self.down = projection(in_channels, out_channels)
        self.bn = nn.BatchNorm2d(out_channels)
        nn.init.constant_(self.bn.weight, 1e-6)  # a block begins as its residual
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        parts = [conv(x, self.A[i], self.alpha) for i, conv in enumerate(self.convs)]
        return self.relu(self.bn(torch.stack(parts).sum(0)) + self.down(x))


class ChannelBlock(nn.Module):
    """Graph convolution, temporal branches and residual."""

    def __init__(
        self, into: int, out: int, adjacency: Tensor, stride: int, rel_reduction: int, shortcut: nn.Module | None
    ) -> None:
        super().__init__()
        self.gcn1 = ChannelUnit(into, out, adjacency, rel_reduction)
        self.tcn1 = MultiScaleBranches(out, out, 5, stride, (1, 2), with_residual=False)
        self.residual = shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tcn1(self.gcn1(x))
        return y if self.residual is None else self.relu(y + self.residual(x))  # y has no negative values


class CTRGCN(GraphBackbone):
    """CTR-GCN: joints (N, M, T, V, C) -> features (N, M, C', T', V).

    Args:
        graph_cfg: layout of the joints and adjacency of ``mode``; published: ``spatial``.
        in_channels: numbers per joint: 3 for x, y and score, or for x, y and z.
        base_channels: channels of the first block.
        num_stages: number of blocks.
        inflate_stages: blocks, counted from 1, that double the channels.
        down_stages: blocks, counted from 1, that halve the number of frames.
        num_person: persons of a clip.
        rel_reduction: channels of a block divided by those of the embedding of its joints.
    """

    chain = "net"

    def __init__(
        self,
        graph_cfg: Graph,
        in_channels: int = 3,
        base_channels: int = 64,
        num_stages: int = 10,
        inflate_stages: Sequence[int] = (5, 8),
        down_stages: Sequence[int] = (5, 8),
        num_person: int = 2,
        rel_reduction: int = 8,
    ) -> None:
        super().__init__(graph_cfg, in_channels, num_person, "MVC")
        adjacency = adjacency_of(graph_cfg)
        self.fix_matrices(adjacency)
        self.net = nn.ModuleList()
        plan = block_plan(in_channels, base_channels, num_stages, inflate_stages, down_stages)
        for i, (into, out, stride) in enumerate(plan):
            shortcut = residual(into, out, stride) if i else None
            self.net.append(ChannelBlock(into, out, adjacency, stride, rel_reduction, shortcut))
