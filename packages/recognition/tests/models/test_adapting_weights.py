"""Recognizers convert the weights of image networks, and leave those of video networks unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vid_recognition.models.heads import I3DHead, TSNHead
from vid_recognition.models.mobileone import MobileOne
from vid_recognition.models.recognizers import Recognizer2D, Recognizer3D
from vid_recognition.models.resnet import ResNet
from vid_recognition.models.resnet3d import ResNet3dSlowOnly
from vidcore.engine.options import TrainOptions
from vidcore.errors import CheckpointError
from vidcore.plugins.catalog import load_plugins
from vidcore.task.initial import load_initial_weights


def test_image_weights_are_inflated() -> None:
    flat = Recognizer2D(ResNet(50), TSNHead(num_classes=3, in_channels=2048))
    deep = Recognizer3D(ResNet3dSlowOnly(depth=50), I3DHead(num_classes=3, in_channels=2048))
    adapted = deep.adapt_weights(flat.state_dict())
    assert adapted is not None
    assert set(deep.state_dict()) - set(adapted) == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"}
    key = "backbone.layer4.0.conv1.conv.weight"  # the kernel over three frames sums to the one over one
    torch.testing.assert_close(adapted[key].sum(2), flat.state_dict()[key])


def test_video_weights_are_unchanged() -> None:
    deep = Recognizer3D(ResNet3dSlowOnly(depth=18), I3DHead(num_classes=3, in_channels=512))
    assert deep.adapt_weights(deep.state_dict()) is None


def test_image_weights_with_our_names_are_recognised_by_their_classifier() -> None:
    model = Recognizer2D(MobileOne("s0"), TSNHead(num_classes=3, in_channels=1024))
    backbone = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.")}
    adapted = model.adapt_weights(backbone | {"head.fc.weight": torch.rand(5, 1024)})
    assert adapted is not None
    assert adapted.keys() == backbone.keys()


def test_a_different_image_network_is_refused() -> None:
    flat = Recognizer2D(ResNet(18), TSNHead(num_classes=3, in_channels=512))
    deep = Recognizer3D(ResNet3dSlowOnly(depth=50), I3DHead(num_classes=3, in_channels=2048))
    with pytest.raises(CheckpointError, match="but this network needs"):
        deep.adapt_weights(flat.state_dict())


@pytest.mark.parametrize("prefix", ["", "backbone."])
def test_what_is_left_out_of_image_weights_is_named(tmp_path: Path, prefix: str) -> None:
    net = ResNet(18)
    name = "cls_head.fc_cls" if prefix else "fc"
    classifier = {f"{name}.{part}": torch.ones(2) for part in ("weight", "bias")}
    state = {f"{prefix}{key}": value for key, value in net.state_dict().items()} | classifier
    torch.save(state, tmp_path / "image.pth")
    model = Recognizer3D(ResNet3dSlowOnly(depth=18), I3DHead(num_classes=3, in_channels=512))
    for weights in (tmp_path / "image.pth", {"backbone": tmp_path / "image.pth"}):
        lines = load_initial_weights(model, TrainOptions(weights=weights), load_plugins())
        assert f"image.pth also has {', '.join(classifier)}" in lines
