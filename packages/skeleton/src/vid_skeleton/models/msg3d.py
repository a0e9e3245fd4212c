"""MS-G3D (arXiv:2003.14111): joints at several distances, and joints of neighbouring frames.

Three stages of 96, 192 and 384 channels, each the sum of two paths, followed by temporal branches:

    sgcn:  for each distance 0 to 12 in the graph, joints at that distance -> pointwise convolution; temporal branches
    gcn3d: windows of 3 and of 5 frames as one graph of 3 V or 5 V joints, distances 0 to 5 -> convolution over the
           frames of the window
    (N * M, 3, T, V) -> (N * M, 384, T / 4, V)

Matrices of a distance are divided by the sums of their columns; learned numbers, which start near 0, are added.

Differences from the paper: matrices are divided by the sums of columns, not by the roots of both sums.
Names of parameters are those of published weights.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vid_skeleton.graphs import Graph, Layout, Matrix
from vid_skeleton.models.branches import MultiScaleBranches
from vid_skeleton.models.layers import FixedMatrices, GraphBackbone, adjacency_of
from vidcore.nn import require

__all__ = ["MSG3D"]


def scale_matrices(layout: Layout, scales: int, window: int = 1) -> Tensor:
    """Return the matrices of the distances 0 to ``scales`` - 1 of a graph over ``window`` frames.

    A joint is connected with itself and its neighbours in all other frames.

    Returns:
        (scales, window * V, window * V) float32.
    """
    hops: Matrix = np.tile(layout.hop_distance(scales), (window, window))
    itself = np.eye(len(hops), dtype=bool)
    hops[(hops == 0) & ~itself] = 1
    matrices = np.stack([(hops == scale) | itself for scale in range(scales)]).astype(np.float64)
    return torch.from_numpy(matrices / matrices.sum(1, keepdims=True)).float()


class ScaleUnit(FixedMatrices):
    """Graph convolution over several distances: (N, C, T, V') -> (N, C', T, V'), V' the joints of a window.

    ``A`` is fixed, ``PA`` learned: (scales, V', V').
    """

    def __init__(self, in_channels: int, out_channels: int, matrices: Tensor) -> None:
        super().__init__()
        self.fix_matrices(matrices)
        self.PA = nn.Parameter(torch.empty_like(matrices).uniform_(-1e-6, 1e-6))
        self.mlp = Pointwise(in_channels * len(matrices), out_channels)

    def forward(self, x: Tensor) -> Tensor:
        near = torch.einsum("kuv,nctu->nkctv", self.A + self.PA, x)
        out: Tensor = self.mlp(near.flatten(1, 2))
        return out


class Pointwise(nn.Module):
    """A pointwise convolution, batch norm and ReLU."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class Windows(nn.Module):
    """Join the joints of the frames around each frame: (N, C, T, V) -> (N, C, T / stride, window * V)."""

    def __init__(self, window: int, stride: int) -> None:
        super().__init__()
        self.window, self.stride = window, stride

    def forward(self, x: Tensor) -> Tensor:
        beside = (self.window - 1) // 2
        padded = nn.functional.pad(x, (0, 0, beside, beside))
        return padded.unfold(2, self.window, self.stride).transpose(3, 4).flatten(3)


class WindowPath(nn.Module):
    """Windows of one length: (N, C, T, V) -> (N, C', T / stride, V)."""

    def __init__(self, in_channels: int, out_channels: int, layout: Layout, scales: int, window: int, stride: int):
        super().__init__()
        self.window = window
        inner = out_channels if in_channels <= 3 else in_channels
        unit = ScaleUnit(in_channels, inner, scale_matrices(layout, scales, window))
        self.gcn3d = nn.Sequential(Windows(window, stride), unit)
        self.out_conv = nn.Conv3d(inner, out_channels, (1, window, 1))
        self.out_bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.gcn3d(x).unflatten(3, (self.window, -1))
        out: Tensor = self.out_bn(self.out_conv(frames).squeeze(3))
        return out


class WindowPaths(nn.Module):
    """The sum over windows of several lengths."""

    def __init__(self, in_channels: int, out_channels: int, layout: Layout, scales: int, stride: int) -> None:
        super().__init__()
        self.gcn3d = nn.ModuleList(
            WindowPath(in_channels, out_channels, layout, scales, window, stride) for window in (3, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        short, long = (path(x) for path in self.gcn3d)
        return short + long


class MSG3D(GraphBackbone):
    """MS-G3D: joints (N, M, T, V, C) -> features (N, M, 4 * base_channels, T', V).

    Args:
        graph_cfg: layout of the joints; ``mode`` must be ``binary_adj``.
        in_channels: numbers per joint: 3 for x, y and score, or for x, y and z.
        base_channels: channels of the first stage; must divide into 6 branches.
        num_gcn_scales: distances of the path of single frames.
        num_g3d_scales: distances of the path of windows.
        num_person: persons of a clip.
    """

    def __init__(
        self,
        graph_cfg: Graph,
        in_channels: int = 3,
        base_channels: int = 96,
        num_gcn_scales: int = 13,
        num_g3d_scales: int = 6,
        num_person: int = 2,
    ) -> None:
        super().__init__(graph_cfg, in_channels, num_person, "MVC")
        require(graph_cfg.mode == "binary_adj", f"graph_cfg.mode must be 'binary_adj', got {graph_cfg.mode!r}")
        layout = graph_cfg.joints
        self.fix_matrices(adjacency_of(graph_cfg)[0])
        matrices = scale_matrices(layout, num_gcn_scales)
        into = in_channels
        for stage in (1, 2, 3):
            inner, out, stride = (
                base_channels * 2 ** max(stage - 2, 0),
                base_channels * 2 ** (stage - 1),
                1 + (stage > 1),
            )
            path = nn.Sequential(
                ScaleUnit(into, inner, matrices),
                MultiScaleBranches(inner, out, stride=stride),
                MultiScaleBranches(out, out, with_relu=False),
            )
            self.add_module(f"gcn3d{stage}", WindowPaths(into, out, layout, num_g3d_scales, stride))
            self.add_module(f"sgcn{stage}", path)
            self.add_module(f"tcn{stage}", MultiScaleBranches(out, out))
            into = out

    def blocks(self, x: Tensor) -> Tensor:
        for stage in (1, 2, 3):
            single, windows, after = (self.get_submodule(f"{name}{stage}") for name in ("sgcn", "gcn3d", "tcn"))
            x = after(torch.relu_(single(x) + windows(x)))
        return x
