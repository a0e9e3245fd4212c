"""Other norms and activations in a backbone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from vid_recognition.models.heads import I3DHead
from vid_recognition.models.layer_options import LayerOptions
from vid_recognition.models.norms import SubBatchNorm3D
from vid_recognition.models.recognizers import Recognizer3D
from vid_recognition.models.resnet import ResNet
from vid_recognition.models.resnet3d import ResNet3dSlowOnly
from vidcore.config.bind import build_component
from vidcore.errors import UserError


def backbone(**options: Any) -> ResNet3dSlowOnly:
    torch.manual_seed(0)
    return ResNet3dSlowOnly(depth=18, base_channels=8, num_stages=2, out_indices=(1,), **options)


def test_group_norm_starts_like_the_batch_norm_that_it_replaces() -> None:
    net = backbone(zero_init_residual=True)
    names = [name for name, _ in net.named_parameters()]
    Recognizer3D(net, I3DHead(num_classes=2, in_channels=16), layers=LayerOptions(norm="group", num_groups=4))
    norms = [m for m in net.modules() if isinstance(m, nn.GroupNorm)]
    assert norms and not [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    assert [name for name, _ in net.named_parameters()] == names
    assert not net.get_submodule("layer1.0.conv2.bn").weight.any(), "blocks begin as the identity"
    clip = torch.rand(1, 3, 2, 32, 32)
    with torch.no_grad():
        both = net.eval()(torch.cat([clip, torch.rand(3, 3, 2, 32, 32)]))
        torch.testing.assert_close(both[:1], net.train()(clip))  # a sample does not depend on its batch


def test_norms_that_are_not_trained() -> None:
    net = backbone(frozen_stages=0)
    LayerOptions(train_norms=False).apply(net)
    net.train()
    trained = {name.rsplit(".", 2)[-2] for name, p in net.named_parameters() if p.requires_grad}
    assert trained == {"conv"}
    assert net.get_submodule("layer1.0.conv1.bn").training, "statistics are updated: norm_eval stops that"


def test_norms_over_parts_of_a_batch_follow_modes_and_freezing() -> None:
    net = backbone(frozen_stages=0)
    LayerOptions(norm="sub_batch", num_splits=2).apply(net)
    norm = net.get_submodule("layer1.0.conv1.bn")
    assert isinstance(norm, SubBatchNorm3D) and norm.num_splits == 2
    net.train()(torch.rand(4, 3, 2, 32, 32))
    net.eval()
    assert norm.bn.running_mean is not None and norm.bn.running_mean.any()
    assert not any(p.requires_grad for p in net.conv1.parameters())


def test_activations() -> None:
    for net in (backbone(), ResNet(18)):
        before = sum(isinstance(m, nn.ReLU) for m in net.modules())
        LayerOptions(activation="silu").apply(net)
        assert sum(isinstance(m, nn.SiLU) for m in net.modules()) == before
    with torch.no_grad():
        assert ResNet(18).eval()(torch.rand(1, 3, 32, 32)).min() >= 0
        assert net.eval()(torch.rand(1, 3, 32, 32)).min() < 0


SWIN = {"type": "SwinTransformer", "depths": [1, 1], "num_heads": [1, 2]}


@pytest.mark.parametrize(
    ("net", "layers", "message"),
    [
        ({"type": "MobileOne"}, {"activation": "gelu"}, "layers.activation: MobileOne has activations that are not"),
        ({"type": "ResNet", "depth": 18}, {"norm": "group", "num_groups": 7}, "divisible"),
        ({"type": "ResNet", "depth": 18}, {"norm": "sub_batch"}, r'layers.norm = "sub_batch" is for networks on clips'),
        (
            {"type": "SwinTransformer", "depths": [1, 1], "num_heads": [1, 2]},
            {"norm": "group"},
            "layers: SwinTransformer has no batch norm",
        ),
        ({"type": "ResNet", "depth": 18}, {"norm": "layer"}, "layers.norm: must be"),
    ],
)
def test_what_cannot_be_replaced_is_refused(net: dict[str, Any], layers: dict[str, Any], message: str) -> None:
    head = {"type": "TSNHead", "num_classes": 2, "in_channels": 512}
    with pytest.raises(UserError, match=message):
        build_component({"type": "Recognizer2D", "backbone": net, "cls_head": head, "layers": layers})
