"""Graphs of joints: which joints a layout has, how they are connected, and the adjacency matrices of graph networks.

Shapes: V joints, K subsets of the edges. An edge ``(i, j)`` is the entry ``matrix[j, i]``, the weight of joint ``j`` in
the sum over the neighbours of joint ``i``: a network multiplies features (..., V) by the matrix from the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from attrs import field, frozen

from vidcore.errors import UserError
from vidcore.validators import at_least

__all__ = ["COCO", "LAYOUTS", "NTU", "OPENPOSE", "Graph", "Layout", "Matrix"]

Matrix = np.ndarray[Any, np.dtype[np.float64]]


@frozen
class Layout:
    """The joints of a person and the edges between them.

    In a Task, ``layout = {num_node = 5, inward = [[1, 0], [2, 1], [3, 1], [4, 3]], center = 1}``. Raises ``UserError``
    if an edge, the centre or a pair names a joint that does not exist.
    """

    num_node: int = field(validator=at_least(1))
    """Number of joints, V."""
    inward: tuple[tuple[int, int], ...]
    """Edges (joint, joint nearer to the centre); indices from 0."""
    center: int = 0
    """The joint from which distances are counted."""
    names: tuple[str, ...] = ()
    """Names of the joints; empty: unknown."""
    left: tuple[int, ...] = ()
    """Joints on the left side of the body."""
    right: tuple[int, ...] = ()
    """Their partners on the right side, in the same order."""

    def __attrs_post_init__(self) -> None:
        used = (*(joint for edge in self.inward for joint in edge), self.center, *self.left, *self.right)
        if wrong := sorted({joint for joint in used if not 0 <= joint < self.num_node}):
            raise UserError(
                f"a layout of {self.num_node} joints has the joints 0 to {self.num_node - 1}, got joint {wrong[0]}:"
                " see num_node, inward, center, left and right"
            )
        if len(self.left) != len(self.right):
            raise UserError(f"left has {len(self.left)} joints, but right has {len(self.right)}: they are pairs")
        if self.names and len(self.names) != self.num_node:
            raise UserError(f"names has {len(self.names)} names for {self.num_node} joints (num_node)")

    def hop_distance(self, max_hop: int = 1) -> Matrix:
        """Return the number of edges between each two joints: (V, V) float64; more than ``max_hop``: infinity."""
        reach = np.eye(self.num_node, dtype=bool)
        step = reach | _matrix(self.inward, self.num_node).astype(bool)
        step |= step.T
        distance = np.where(reach, 0.0, np.inf)
        for hop in range(1, max_hop + 1):
            reach = reach @ step
            distance[reach & np.isinf(distance)] = hop
        return distance


# fmt: off
COCO = Layout(
    17,
    ((15, 13), (13, 11), (16, 14), (14, 12), (11, 5), (12, 6), (9, 7), (7, 5),
     (10, 8), (8, 6), (5, 0), (6, 0), (1, 0), (3, 1), (2, 0), (4, 2)),
    center=0,
    names=(
     "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder",
     "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip",
     "left_knee", "right_knee", "left_ankle", "right_ankle"),
    left=(1, 3, 5, 7, 9, 11, 13, 15),
    right=(2, 4, 6, 8, 10, 12, 14, 16),
)
"""The 17 keypoints of COCO (arXiv:1405.0312)."""

NTU = Layout(
    25,
    ((0, 1), (1, 20), (2, 20), (3, 2), (4, 20), (5, 4), (6, 5), (7, 6), (8, 20), (9, 8), (10, 9), (11, 10),
     (12, 0), (13, 12), (14, 13), (15, 14), (16, 0), (17, 16), (18, 17), (19, 18),
     (21, 7), (22, 7), (23, 11), (24, 11)),
    center=20,
    names=(
     "spine_base", "spine_middle", "neck", "head", "left_shoulder", "left_elbow", "left_wrist", "left_hand",
     "right_shoulder", "right_elbow", "right_wrist", "right_hand", "left_hip", "left_knee", "left_ankle",
     "left_foot", "right_hip", "right_knee", "right_ankle", "right_foot", "spine_shoulder", "left_hand_tip",
     "left_thumb", "right_hand_tip", "right_thumb"),
    left=(4, 5, 6, 7, 12, 13, 14, 15, 21, 22),
    right=(8, 9, 10, 11, 16, 17, 18, 19, 23, 24),
)
"""The 25 joints of NTU RGB+D, those of Kinect 2 (arXiv:1604.02808)."""

OPENPOSE = Layout(
    18,
    ((4, 3), (3, 2), (7, 6), (6, 5), (13, 12), (12, 11), (10, 9), (9, 8), (11, 5), (8, 2),
     (5, 1), (2, 1), (0, 1), (15, 0), (14, 0), (17, 15), (16, 14)),
    center=1,
    names=(
     "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
     "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
     "right_eye", "left_eye", "right_ear", "left_ear"),
    left=(5, 6, 7, 11, 12, 13, 15, 17),
    right=(2, 3, 4, 8, 9, 10, 14, 16),
)
"""The 18 joints of OpenPose's COCO model, which Kinetics-Skeleton has (arXiv:1801.07455)."""
# fmt: on

LAYOUTS = {"coco": COCO, "nturgb+d": NTU, "openpose": OPENPOSE}


@frozen
class Graph:
    """``graph_cfg`` of a network: a layout, and how its edges are divided into subsets.

    In a Task, ``graph_cfg = {layout = "coco", mode = "spatial"}``. Raises ``UserError`` if the layout is not valid.
    """

    layout: Literal["coco", "nturgb+d", "openpose"] | Layout
    """A known layout, or one of your own: see ``Layout``."""
    mode: Literal["spatial", "stgcn_spatial", "binary_adj"] = "spatial"
    """``spatial``: 3 subsets, each joint with itself, inward and outward edges (arXiv:1805.07694).
    ``stgcn_spatial``: 1 + 2 * ``max_hop`` subsets, by the number of edges between two joints, and by which of them is
    nearer to the centre (arXiv:1801.07455). ``binary_adj``: 1 subset, 1 for each edge."""
    max_hop: int = field(default=1, validator=at_least(1))
    """Edges between two joints that are neighbours in ``stgcn_spatial``."""

    def __attrs_post_init__(self) -> None:
        modes = ("spatial", "stgcn_spatial", "binary_adj")
        if self.mode not in modes:
            raise UserError(f"mode must be one of {', '.join(modes)}, got {self.mode!r}")
        if not isinstance(self.layout, Layout) and self.layout not in LAYOUTS:
            raise UserError(
                f"layout must be one of {', '.join(LAYOUTS)}, or a table with num_node, inward and center,"
                f" got {self.layout!r}"
            )

    @property
    def joints(self) -> Layout:
        """The joints and edges of the layout."""
        return self.layout if isinstance(self.layout, Layout) else LAYOUTS[self.layout]

    @property
    def name(self) -> str:
        """The name of the layout, for messages."""
        return "graph_cfg.layout" if isinstance(self.layout, Layout) else f"the layout {self.layout!r}"

    def adjacency(self) -> Matrix:
        """Return the adjacency matrices of the subsets: (K, V, V) float64."""
        inward = _matrix(self.joints.inward, self.joints.num_node)
        match self.mode:
            case "binary_adj":
                return (inward + inward.T)[None]
            case "spatial":
                return np.stack([np.eye(len(inward)), _normalized(inward), _normalized(inward.T)])
            case "stgcn_spatial":
                return self._by_distance()

    def _by_distance(self) -> Matrix:
        hops = self.joints.hop_distance(self.max_hop)
        weights = _normalized((hops <= self.max_hop).astype(np.float64))
        to_center = hops[self.joints.center]  # published weights do not tell joints beyond max_hop apart
        nearer = to_center[:, None] < to_center[None]
        subsets = [weights * (hops == 0)]
        for hop in range(1, self.max_hop + 1):
            subsets += [weights * (hops == hop) * ~nearer, weights * (hops == hop) * nearer]
        return np.stack(subsets)


def _matrix(edges: Sequence[tuple[int, int]], joints: int) -> Matrix:
    """Return the matrix of edges: (V, V)."""
    matrix = np.zeros((joints, joints))
    for start, end in edges:
        matrix[end, start] = 1
    return matrix


def _normalized(matrix: Matrix) -> Matrix:
    """Divide each column by its sum; columns without edges stay 0."""
    sums = matrix.sum(0)
    return matrix / np.where(sums > 0, sums, 1)
