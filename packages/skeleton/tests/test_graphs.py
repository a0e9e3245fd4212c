"""Layouts and adjacency matrices; ``tests/parity`` compares them with published ones."""

from __future__ import annotations

import numpy as np
import pytest

from vid_skeleton.graphs import LAYOUTS, Graph, Layout
from vidcore.errors import UserError

PATH = Layout(3, ((1, 0), (2, 1)))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_one_connected_body_with_two_sides(name: str) -> None:
    layout = LAYOUTS[name]
    assert np.isfinite(layout.hop_distance(layout.num_node)).all()
    assert len(layout.inward) == layout.num_node - 1
    for left, right in zip(layout.left, layout.right, strict=True):
        assert layout.names[left].removeprefix("left_") == layout.names[right].removeprefix("right_")
    middle = {i for i, joint in enumerate(layout.names) if not joint.startswith(("left_", "right_"))}
    assert {*layout.left, *layout.right} | middle == set(range(layout.num_node))


def test_subsets_hold_the_neighbours_of_a_joint_in_its_column() -> None:
    itself, inward, outward = Graph(PATH).adjacency()
    assert np.array_equal(itself, np.eye(3))
    assert inward.tolist() == [[0, 1, 0], [0, 0, 1], [0, 0, 0]]
    assert np.array_equal(outward, inward.T)
    near = Graph(PATH, "stgcn_spatial").adjacency()
    assert np.allclose(near.sum((0, 1)), 1)
    assert near[1][1, 0] == near[2][1, 2] == 0.5, "each column sums to 1: half from itself, half from the neighbour"
    assert not near[1][0, 1] and not near[2][1, 0]
    assert Graph(PATH, "binary_adj").adjacency().tolist() == [[[0, 1, 0], [1, 0, 1], [0, 1, 0]]]


def test_errors_name_what_is_allowed() -> None:
    with pytest.raises(UserError, match="3 joints has the joints 0 to 2, got joint 3"):
        Layout(3, ((3, 0),))
    with pytest.raises(UserError, match="left has 1 joints, but right has 0"):
        Layout(3, (), left=(1,))
    with pytest.raises(UserError, match="2 names for 3 joints"):
        Layout(3, (), names=("a", "b"))
    with pytest.raises(UserError, match="must be one of coco"):
        Graph("h36m")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="mode must be one of spatial"):
        Graph("coco", "nothing")  # type: ignore[arg-type]
