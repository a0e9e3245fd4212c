"""DG-STGCN (arXiv:2210.05895): graphs that are learned from random numbers, in groups of channels.

Blocks are those of ST-GCN++ (10, the channels double and the frames halve in the 5th and 8th), with other parts:

    DG-GCN  x (N, C, T, V) -> K groups (N, K, C'/K, T, V); each is related along its own matrix, joined, and convolved
            matrix of a group = PA + a * DA + b * CA, from the mean over frames, embedded twice as X and Y:
            PA (V, V) is learned, and random at first;
            DA (V, V), softmax of X^T Y, is one matrix for a sample;
            CA (C'/K, V, V), tanh of the differences of X and Y, is one for each of its channels
    DG-TCN  six temporal branches of ST-GCN++; the mean over joints, the skeleton, takes part like a joint, and is
            added to each joint times a learned weight

Choices of this file, where they may differ from those of the authors: groups have batch norm and ReLU before joints are
related, the sum has batch norm, X and Y are as wide as a group, and ``a``, ``b`` and the weights of the skeleton start
from 0. With 60 classes and 25 joints the model has 1.70 million parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from vid_skeleton.graphs import Graph
from vid_skeleton.models.layers import Block, GraphBackbone, block_plan, projection, residual
from vid_skeleton.models.stgcn import MultiScaleUnit
from vidcore.nn import require

__all__ = ["DGSTGCN"]


class GroupUnit(nn.Module):
    """Graph convolution in groups, each with its own graphs: (N, C, T, V) -> (N, C', T, V)."""

    def __init__(self, in_channels: int, out_channels: int, joints: int, groups: int) -> None:
        super().__init__()
        require(out_channels >= groups > 0, f"num_groups must be 1 to {out_channels}, the channels, got {groups}")
        width = groups * (out_channels // groups)
        self.groups = groups
        self.pre = nn.Sequential(nn.Conv2d(in_channels, width, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
        self.query = nn.Conv2d(in_channels, width, 1)
        self.key = nn.Conv2d(in_channels, width, 1)
        self.PA = nn.Parameter(torch.randn(groups, joints, joints) * 0.02 + 0.04)
        self.alpha = nn.Parameter(torch.zeros(groups))
        self.beta = nn.Parameter(torch.zeros(groups))
        self.post = nn.Conv2d(width, out_channels, 1)
        self.bn = nn.BatchNorm2d(out_channels)
        self.down = projection(in_channels, out_channels)
        self.act = nn.ReLU(inplace=True)

    def adjacency(self, x: Tensor) -> Tensor:
        """Return the matrices of each sample, group and channel: (N, K, C'/K, V, V)."""
        pooled = x.mean(2, keepdim=True)
        one, other = (conv(pooled).squeeze(2).unflatten(1, (self.groups, -1)) for conv in (self.query, self.key))
        shared = torch.softmax(one.transpose(2, 3) @ other, 2) * self.alpha[:, None, None]
        own = torch.tanh(one[..., :, None] - other[..., None, :]) * self.beta[:, None, None, None]
        return own + (shared + self.PA)[:, :, None]

    def forward(self, x: Tensor) -> Tensor:
        related = self.pre(x).unflatten(1, (self.groups, -1)) @ self.adjacency(x)
        return self.act(self.bn(self.post(related.flatten(1, 2))) + self.down(x))


class FusedUnit(MultiScaleUnit):
    """Temporal branches of the joints and of the skeleton, their mean: (N, C, T, V) -> (N, C, T / stride, V)."""

    def __init__(self, channels: int, joints: int, stride: int, dropout: float) -> None:
        super().__init__(channels, stride, dropout)
        self.gamma = nn.Parameter(torch.zeros(joints))

    def forward(self, x: Tensor) -> Tensor:
        both = self.join(torch.cat([x, x.mean(3, keepdim=True)], 3))
        out: Tensor = self.drop(self.bn(self.transform(both[..., :-1] + both[..., -1:] * self.gamma)))
        return out


class DGSTGCN(GraphBackbone):
    """DG-STGCN: joints (N, M, T, V, C) -> features (N, M, C', T', V).

    Args:
        graph_cfg: layout of the joints; only their number counts.
        in_channels: numbers per joint: 3 for x, y and score, or for x, y and z.
        base_channels: channels of the first block.
        data_bn_type: batch norm of the input: ``VC`` for each coordinate of each joint, ``MVC`` also for each person.
        num_person: persons of a clip; only ``MVC`` depends on it.
        num_groups: groups of a graph convolution, K.
        num_stages: number of blocks.
        inflate_stages: blocks, counted from 1, that double the channels.
        down_stages: blocks, counted from 1, that halve the number of frames.
        tcn_dropout: probability of zeroing an output of a temporal unit while training.
    """

    def __init__(
        self,
        graph_cfg: Graph,
        in_channels: int = 3,
        base_channels: int = 64,
        data_bn_type: Literal["VC", "MVC"] = "VC",
        num_person: int = 2,
        num_groups: int = 8,
        num_stages: int = 10,
        inflate_stages: Sequence[int] = (5, 8),
        down_stages: Sequence[int] = (5, 8),
        tcn_dropout: float = 0.0,
    ) -> None:
        super().__init__(graph_cfg, in_channels, num_person, data_bn_type)
        joints = graph_cfg.joints.num_node
        self.gcn = nn.ModuleList()
        plan = block_plan(in_channels, base_channels, num_stages, inflate_stages, down_stages)
        for i, (into, out, stride) in enumerate(plan):
            gcn = GroupUnit(into, out, joints, num_groups)
            tcn = FusedUnit(out, joints, stride, tcn_dropout)
            self.gcn.append(Block(gcn, tcn, residual(into, out, stride) if i else None))
