"""Graphs of joints."""

from __future__ import annotations

from typing import Any

from vid_skeleton.graphs import Graph, Layout


def graph_adjacency(case: Any, row: Any) -> dict[str, Any]:
    given = dict(row.settings)
    if isinstance(own := given["layout"], dict):
        edges = tuple((start, end) for start, end in own["inward"])
        given["layout"] = Layout(own["num_node"], edges, own["center"])
    graph = Graph(**given)
    joints = graph.joints
    if "joints" in row.outputs:
        return {"joints": joints.num_node, "centre": joints.center, "inward_edges": list(map(list, joints.inward))}
    return {"A": graph.adjacency(), "hop_distance": joints.hop_distance(graph.max_hop)}


OPS = {"skeleton.graph_adjacency": graph_adjacency}
