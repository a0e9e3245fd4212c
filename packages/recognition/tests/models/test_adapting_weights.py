"""Recognizers convert the weights of image networks, and leave those of video networks unchanged."""

from __future__ import annotations

import pytest
import torch

from vid_recognition.models.heads import I3DHead, TSNHead
from vid_recognition.models.mobileone import MobileOne
from vid_recognition.models.recognizers import Recognizer2D, Recognizer3D
from vid_recognition.models.resnet import ResNet
from vid_recognition.models.resnet3d import ResNet3dSlowOnly
from vidcore.errors import CheckpointError


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
