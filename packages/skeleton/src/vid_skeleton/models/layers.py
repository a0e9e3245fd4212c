"""What graph networks share: the normalised input, temporal convolutions and the order of blocks.

Shapes: N clips, M persons, T frames, V joints, C channels, K subsets of the edges. Inside a network a batch is
(N * M, C, T, V): persons are independent until the head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from vid_skeleton.graphs import Graph
from vidcore.errors import CheckpointError
from vidcore.nn import require

__all__ = [
    "Block",
    "FixedMatrices",
    "GraphBackbone",
    "TemporalUnit",
    "adjacency_of",
    "block_plan",
    "init_branch",
    "projection",
    "residual",
]


def adjacency_of(graph: Graph) -> Tensor:
    """Return the adjacency matrices of a graph: (K, V, V) float32."""
    return torch.from_numpy(graph.adjacency()).float()


class FixedMatrices(nn.Module):
    """Base of modules whose files have matrices ``A`` that follow from the graph. They are not saved again."""

    A: Tensor

    def fix_matrices(self, matrices: Tensor) -> None:
        """Keep matrices that are not trained."""
        self.register_buffer("A", matrices.clone(), persistent=False)

    def _load_from_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Compare the matrices of a file with those of the graph; raise ``CheckpointError`` if they differ."""
        if "A" in self._buffers and (found := state_dict.pop(f"{prefix}A", None)) is not None:
            same = found.shape == self.A.shape and (
                self.A.is_meta or torch.allclose(found.cpu().float(), self.A.cpu().float(), atol=1e-3)
            )
            if not same:
                raise CheckpointError(f"{prefix}A in the file belongs to a different graph: see backbone.graph_cfg")
        super()._load_from_state_dict(state_dict, prefix, *args)


class GraphBackbone(FixedMatrices):
    """Base of graph networks: ``forward`` maps joints (N, M, T, V, C) to features (N, M, C', T', V).

    Args:
        graph: the joints and their edges.
        in_channels: numbers per joint, C.
        num_person: persons of a clip, M; only normalisation by ``MVC`` depends on it.
        data_bn_type: batch norm of the input: ``VC`` for each coordinate of each joint, ``MVC`` also for each person.
    """

    chain: ClassVar[str] = "gcn"
    """Name of the list of blocks in published weights."""

    def __init__(self, graph: Graph, in_channels: int, num_person: int, data_bn_type: Literal["VC", "MVC"]) -> None:
        super().__init__()
        require(in_channels > 0, f"in_channels must be positive, got {in_channels}")
        require(num_person > 0, f"num_person must be positive, got {num_person}")
        require(data_bn_type in ("VC", "MVC"), f"data_bn_type must be VC or MVC, got {data_bn_type!r}")
        self.graph = graph
        self.in_channels, self.num_person, self.data_bn_type = in_channels, num_person, data_bn_type
        rows = num_person if data_bn_type == "MVC" else 1
        self.data_bn = nn.BatchNorm1d(rows * graph.joints.num_node * in_channels)

    def blocks(self, x: Tensor) -> Tensor:
        """Map (N * M, C, T, V) to (N * M, C', T', V); default: the modules of ``chain``, one after the other."""
        for block in self.get_submodule(self.chain).children():
            x = block(x)
        return x

    def forward(self, joints: Tensor) -> Tensor:
        """Return features of each person.

        Args:
            joints: (N, M, T, V, C) float32.

        Raises:
            ValueError: joints, coordinates or persons are not those of the network.
        """
        n, m, t, v, c = joints.shape
        wanted = self.graph.joints.num_node
        require(v == wanted, f"samples have {v} joints, but {self.graph.name} has {wanted}: see graph_cfg.layout")
        require(c == self.in_channels, f"joints have {c} numbers each, but backbone.in_channels is {self.in_channels}")
        per_person = self.data_bn_type == "MVC"
        require(
            not per_person or m == self.num_person,
            f"samples have {m} persons, but backbone.num_person is {self.num_person}: see num_person of FormatGCNInput",
        )
        rows = joints.permute(0, 1, 3, 4, 2).reshape(n if per_person else n * m, -1, t)
        x = self.data_bn(rows).view(n * m, v, c, t).permute(0, 2, 3, 1).contiguous()
        out: Tensor = self.blocks(x).unflatten(0, (n, m))
        return out


class TemporalUnit(nn.Module):
    """A convolution over time, batch norm and dropout: (N, C, T, V) -> (N, C', T / stride, V)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 9,
        stride: int = 1,
        dilation: int = 1,
        norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        padding = (kernel_size - 1) * dilation // 2
        self.conv = nn.Conv2d(
            in_channels, out_channels, (kernel_size, 1), (stride, 1), (padding, 0), dilation=(dilation, 1)
        )
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(_bias(self.conv))
        self.bn = nn.BatchNorm2d(out_channels) if norm else nn.Identity()
        self.drop = nn.Dropout(dropout, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.bn(self.conv(x)))
        return out


class Block(nn.Module):
    """Graph convolution, temporal unit and residual."""

    def __init__(self, gcn: nn.Module, tcn: nn.Module, shortcut: nn.Module | None) -> None:
        super().__init__()
        self.gcn, self.tcn, self.residual = gcn, tcn, shortcut
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.tcn(self.gcn(x))
        return self.relu(y if self.residual is None else y + self.residual(x))


def _bias(conv: nn.Conv2d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def init_branch(conv: nn.Module, branches: int) -> None:
    """Initialise one of several parallel convolutions whose outputs are added (arXiv:1502.01852)."""
    assert isinstance(conv, nn.Conv2d)
    out, into, *kernel = conv.weight.shape
    nn.init.normal_(conv.weight, 0, math.sqrt(2 / (out * into * math.prod(kernel) * branches)))
    nn.init.zeros_(_bias(conv))


def residual(in_channels: int, out_channels: int, stride: int) -> nn.Module:
    """Return what a block adds to its output: its input, or a convolution where channels or frames differ."""
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    return TemporalUnit(in_channels, out_channels, kernel_size=1, stride=stride)


def projection(in_channels: int, out_channels: int) -> nn.Module:
    """Return what a graph convolution adds to its output, ``down`` in published weights."""
    if in_channels == out_channels:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))


def block_plan(
    in_channels: int,
    base_channels: int,
    num_stages: int,
    inflate_stages: Sequence[int],
    down_stages: Sequence[int],
    ratio: float = 2,
) -> Iterator[tuple[int, int, int]]:
    """Return (channels in, channels out, stride) of each block.

    Args:
        in_channels: of the joints.
        base_channels: of the first block.
        num_stages: number of blocks.
        inflate_stages: blocks, counted from 1, whose channels are ``ratio`` times those of the block before.
        down_stages: blocks that halve the number of frames.
        ratio: of channels.
    """
    require(num_stages > 0, f"num_stages must be positive, got {num_stages}")
    require(base_channels > 0, f"base_channels must be positive, got {base_channels}")
    inflated, channels = 0, in_channels
    for stage in range(1, num_stages + 1):
        inflated += stage in inflate_stages and stage > 1
        out = int(base_channels * ratio**inflated + 1e-4)
        yield channels, out, 2 if stage in down_stages and stage > 1 else 1
        channels = out
