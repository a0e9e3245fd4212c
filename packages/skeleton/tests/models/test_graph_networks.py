"""Graph networks; ``tests/parity`` compares their outputs with published ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vid_skeleton.graphs import Graph, Layout
from vid_skeleton.models.aagcn import AAGCN
from vid_skeleton.models.ctrgcn import CTRGCN
from vid_skeleton.models.dgstgcn import DGSTGCN
from vid_skeleton.models.msg3d import MSG3D
from vid_skeleton.models.recognizer import GCNHead, RecognizerGCN
from vid_skeleton.models.stgcn import STGCN
from vidcore.config.bind import build_component
from vidcore.engine.weights import load_state
from vidcore.errors import CheckpointError, ConfigError, UserError

COCO = Graph("coco")
SMALL = {"base_channels": 12, "num_stages": 3, "inflate_stages": (3,), "down_stages": (3,)}
PLUS = {"gcn_adaptive": "init", "gcn_with_res": True, "tcn_type": "mstcn"}
NETWORKS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "ST-GCN": (STGCN, {"graph_cfg": Graph("coco", "stgcn_spatial"), **SMALL}),
    "ST-GCN post": (STGCN, {"graph_cfg": COCO, "gcn_conv_pos": "post", "gcn_adaptive": "offset", **SMALL}),
    "ST-GCN++": (STGCN, {"graph_cfg": COCO, **PLUS, **SMALL}),
    "2s-AGCN": (AAGCN, {"graph_cfg": COCO, "gcn_attention": False, **SMALL}),
    "AAGCN": (AAGCN, {"graph_cfg": COCO, **SMALL}),
    "CTR-GCN": (CTRGCN, {"graph_cfg": COCO, **SMALL}),
    "DG-STGCN": (DGSTGCN, {"graph_cfg": COCO, **SMALL}),
    "MS-G3D": (MSG3D, {"graph_cfg": Graph("coco", "binary_adj"), "base_channels": 6, "num_gcn_scales": 3}),
}
CHANNELS = {"MS-G3D": 24}


def recognizer(name: str) -> RecognizerGCN:
    torch.manual_seed(0)
    network, arguments = NETWORKS[name]
    return RecognizerGCN(network(**arguments), GCNHead(4, CHANNELS.get(name, 24))).eval()


def joints(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_clips_of_a_sample_are_scored_alone_and_persons_are_averaged(name: str) -> None:
    model, inputs = recognizer(name), joints(2, 3, 2, 9, 17, 3)
    with torch.no_grad():
        scores, one = model(inputs), model(inputs[1:, 2:])
        features = model.extract_features(inputs)
        assert scores.shape == (2, 3, 4)
        assert torch.allclose(scores[1:, 2:], one, atol=1e-5)
        assert torch.allclose(model.cls_head.fc(features.mean((1, 3, 4))).view(2, 3, 4), scores, atol=1e-6)
        assert torch.allclose(model.clip_features(inputs), features.mean((1, 3, 4)).view(2, 3, -1).mean(1), atol=1e-6)


@pytest.mark.parametrize("name", ["ST-GCN", "ST-GCN++", "2s-AGCN", "CTR-GCN"])
def test_joints_reach_those_that_edges_connect(name: str) -> None:
    """One graph convolution relates neighbours: a wrist changes its elbow, and no ankle."""
    network, arguments = NETWORKS[name]
    torch.manual_seed(0)
    model = network(**{**arguments, "num_stages": 1}).eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.ones_(norm.weight)
    one = joints(1, 2, 6, 17, 3)
    other = one.clone()
    other[..., 9, :] += 1
    with torch.no_grad():
        changed = (model(one) - model(other)).abs().sum((0, 1, 2, 3)) > 1e-6
    assert changed.nonzero().flatten().tolist() == [7, 9]


@pytest.mark.parametrize(
    ("network", "mode", "channels", "classes", "millions"),
    [
        (DGSTGCN, "spatial", 256, 60, "1.70"),
        (CTRGCN, "spatial", 256, 120, "1.46"),  # arXiv:2107.12213
        (MSG3D, "binary_adj", 384, 60, "3.2"),  # arXiv:2003.14111
    ],
)
def test_networks_are_as_large_as_in_their_papers(
    network: Any, mode: Any, channels: int, classes: int, millions: str
) -> None:
    """Of one stream, for the 25 joints of NTU RGB+D and its classes."""
    with torch.device("meta"):
        model = RecognizerGCN(network(Graph("nturgb+d", mode)), GCNHead(classes, channels))
    digits = len(millions.partition(".")[2])
    assert f"{sum(p.numel() for p in model.parameters()) / 1e6:.{digits}f}" == millions


def test_errors_name_both_numbers() -> None:
    model = recognizer("CTR-GCN")
    with pytest.raises(ValueError, match=r"samples have 25 joints, but the layout 'coco' has 17"):
        model(joints(1, 1, 2, 9, 25, 3))
    with pytest.raises(ValueError, match=r"joints have 2 numbers each, but backbone.in_channels is 3"):
        model(joints(1, 1, 2, 9, 17, 2))
    with pytest.raises(ValueError, match=r"samples have 1 persons, but backbone.num_person is 2"):
        model(joints(1, 1, 1, 9, 17, 3))
    with pytest.raises(UserError, match=r"cls_head.in_channels is 7, but the backbone returns 24"):
        RecognizerGCN(model.backbone, GCNHead(4, 7))(joints(1, 1, 2, 9, 17, 3))
    with pytest.raises(ValueError, match=r"graph_cfg.mode must be 'binary_adj', got 'spatial'"):
        MSG3D(COCO)


def test_weights_of_a_different_graph_are_refused() -> None:
    model = recognizer("ST-GCN")
    published = dict(model.state_dict()) | {"backbone.gcn.0.gcn.A": model.backbone.gcn[0].gcn.A}
    load_state(model, published)
    with pytest.raises(CheckpointError, match=r"gcn.0.gcn.A in the file belongs to a different graph"):
        load_state(model, published | {"backbone.gcn.0.gcn.A": torch.zeros(3, 17, 17)})


def test_a_task_may_give_its_own_edges() -> None:
    layout = {"num_node": 5, "inward": [[1, 0], [2, 1], [3, 1], [4, 3]], "center": 1}
    table = {"type": "STGCN", "graph_cfg": {"layout": layout}, "base_channels": 8, "num_stages": 1}
    network = build_component(table, kind="models")
    assert network.graph == Graph(Layout(5, ((1, 0), (2, 1), (3, 1), (4, 3)), 1))
    assert network(joints(1, 2, 4, 5, 3)).shape == (1, 2, 8, 4, 5)
    with pytest.raises(ConfigError, match=r"must be one of .*coco"):
        build_component({**table, "graph_cfg": {"layout": "h36m"}}, kind="models")
    with pytest.raises(UserError, match="got joint 7"):
        build_component({**table, "graph_cfg": {"layout": {**layout, "center": 7}}}, kind="models")


@pytest.mark.parametrize("name", ["ST-GCN++", "AAGCN"])
def test_networks_export_for_any_number_of_samples(name: str) -> None:
    network, arguments = NETWORKS[name]
    model = RecognizerGCN(network(**{**arguments, "num_stages": 1}), GCNHead(4, 12)).eval()
    samples = torch.export.Dim("samples", min=2, max=8)
    exported = torch.export.export(model, (joints(2, 1, 2, 8, 17, 3),), dynamic_shapes=({0: samples},)).module()
    more = joints(3, 1, 2, 8, 17, 3)
    with torch.no_grad():
        torch.testing.assert_close(exported(more), model(more))


def test_graphs_of_a_group_are_learned_or_follow_from_the_sample() -> None:
    """DG-STGCN: random matrices relate all joints; with 0 in their place, the sample relates them as weights grow."""
    unit = recognizer("DG-STGCN").backbone.gcn[0].gcn
    x = joints(2, 3, 5, 17)
    assert unit.adjacency(x).shape == (2, 8, 1, 17, 17)
    assert torch.equal(unit.adjacency(x)[0], unit.adjacency(x)[1]), "nothing depends on the sample at first"
    with torch.no_grad():
        unit.PA.zero_()
        unit.alpha.fill_(1.0)
        assert torch.allclose(unit.adjacency(x).sum(3), torch.ones(()))
        unit.alpha.zero_()
        unit.beta.fill_(1.0)
    own = unit.adjacency(x)
    assert own.abs().max() < 1
    assert not torch.allclose(own[0], own[1])


def test_a_skeleton_takes_part_like_a_joint() -> None:
    unit = recognizer("DG-STGCN").backbone.gcn[0].tcn
    x = joints(2, 12, 6, 17)
    with torch.no_grad():
        before = unit(x)
        other = x.clone()
        other[..., 3] += 1
        changed = (unit(other) - before).abs().sum((0, 1, 2)) > 1e-6
        assert changed.nonzero().flatten().tolist() == [3]
        unit.gamma[5] = 1.0
        changed = (unit(other) - unit(x)).abs().sum((0, 1, 2)) > 1e-6
        assert changed.nonzero().flatten().tolist() == [3, 5]
