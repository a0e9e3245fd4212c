"""Image networks of other packages become ours, or are built by timm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from vid_mmaction2.checkpoints import convert_weights
from vid_mmaction2.config import Imported
from vidcore.config.bind import build_component
from vidcore.plugins.catalog import Catalog
from vidcore.task.task import Task

Converted = Callable[..., Imported]


def recognizer(**backbone: Any) -> dict[str, Any]:
    head = {"type": "TSNHead", "num_classes": 5, "in_channels": 2048}
    return {"type": "Recognizer2D", "backbone": backbone, "cls_head": head}


SWIN = {
    "type": "SwinTransformer",
    "embed_dim": 96,
    "depths": [2, 2, 6, 2],
    "num_heads": [3, 6, 12, 24],
    "window_size": 7,
}


@pytest.mark.parametrize(
    ("backbone", "wanted", "file"),
    [
        (
            {"type": "torchvision.resnet50", "pretrained": True},
            {"type": "ResNet", "depth": 50},
            "resnet50-0676ba61.pth",
        ),
        ({"type": "torchvision.resnet18", "num_classes": 9}, {"type": "ResNet", "depth": 18}, None),
        (
            {"type": "torchvision.resnet50", "weights": "ResNet50_Weights.IMAGENET1K_V2"},
            {"type": "ResNet", "depth": 50},
            "resnet50-11ad3fa6.pth",
        ),
        (
            {"type": "torchvision.densenet121", "weights": "DEFAULT"},
            {"type": "DenseNet", "depth": 121},
            "densenet121-a639ec97.pth",
        ),
        (
            {"type": "torchvision.resnext101_32x8d"},
            {"type": "ResNeXt", "depth": 101, "groups": 32, "width_per_group": 8},
            None,
        ),
        ({"type": "timm.resnet50", "pretrained": False}, {"type": "ResNet", "depth": 50}, None),
        (
            {"type": "timm.swin_tiny_patch4_window7_224", "pretrained": True, "feature_shape": "NHWC"},
            SWIN,
            "swin_tiny_patch4_window7_224.pth",
        ),
        (
            {"type": "timm.convnext_tiny", "pretrained": True, "in_chans": 10, "drop_rate": 0.1},
            {
                "type": "TimmBackbone",
                "name": "convnext_tiny",
                "pretrained": True,
                "in_channels": 10,
                "arguments": {"drop_rate": 0.1},
            },
            None,
        ),
        (
            {"type": "timm.vit_base_patch16_224", "feature_shape": "NLC"},
            {"type": "TimmBackbone", "name": "vit_base_patch16_224", "layout": "NLC"},
            None,
        ),
        (
            {"type": "mmpretrain.ResNet", "depth": 101, "deep_stem": False, "style": "pytorch"},
            {"type": "ResNet", "depth": 101, "style": "pytorch"},
            None,
        ),
        ({"type": "ResNet", "_scope_": "mmcls", "depth": 34}, {"type": "ResNet", "depth": 34}, None),
        (
            {"type": "mmcls.MobileNetV2", "init_cfg": {"type": "Pretrained", "checkpoint": "https://x.org/m.pth"}},
            {"type": "MobileNetV2"},
            "m.pth",
        ),
        (
            {
                "type": "mmpretrain.SwinTransformer",
                "arch": "s",
                "img_size": 224,
                "drop_path_rate": 0.3,
                "out_indices": (3,),
                "init_cfg": {"type": "Pretrained", "checkpoint": "https://x.org/m.pth", "prefix": "backbone"},
            },
            {**SWIN, "depths": [2, 2, 18, 2], "drop_path_rate": 0.3},
            "swin_small_patch4_window7_224.pth",
        ),
        ({"type": "mmcls.SwinTransformer", "norm_cfg": {"type": "LN"}}, SWIN, None),
        ({"type": "torchvision.swin_t"}, {**SWIN, "drop_path_rate": 0.2}, None),
        (
            {"type": "torchvision.swin_s", "weights": "DEFAULT", "stochastic_depth_prob": 0.1},
            {**SWIN, "depths": [2, 2, 18, 2], "drop_path_rate": 0.1},
            "swin_small_patch4_window7_224.pth",
        ),
        (
            {"type": "torchvision.mobilenet_v2", "pretrained": True, "dropout": 0.1},
            {"type": "MobileNetV2", "widen_factor": 1.0},
            "mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth",
        ),
        ({"type": "torchvision.mobilenet_v2", "width_mult": 0.5}, {"type": "MobileNetV2", "widen_factor": 0.5}, None),
    ],
)
def test_networks(
    catalog: Catalog, converted: Converted, backbone: dict[str, Any], wanted: dict[str, Any], file: str | None
) -> None:
    imported = converted(model=recognizer(**backbone))
    assert imported.problems == ()
    assert imported.task["model"]["backbone"] == wanted
    assert imported.task["train"].get("weights") == file
    Task.from_table(imported.task, catalog)


def test_weights_of_the_same_network_replace_those_with_other_names(converted: Converted) -> None:
    imported = converted(model=recognizer(type="torchvision.swin_t", weights="DEFAULT"))
    assert imported.notes[0] == (
        "model.backbone.weights: swin_tiny_patch4_window7_224.pth is used: the same network, trained on ImageNet by "
        "others; those of the configuration have other names"
    )


@pytest.mark.parametrize(
    ("backbone", "problem"),
    [
        (
            {"type": "torchvision.vgg16", "pretrained": True},
            "model.backbone.type: torchvision.vgg16 is not converted: its features are flattened maps of 7 x 7;",
        ),
        (
            {"type": "torchvision.alexnet"},
            "model.backbone.type: no installed plugin offers a component named 'torchvision.a",
        ),
        ({"type": "mmcls.SwinTransformer", "arch": "huge"}, "model.backbone.arch: must be one of tiny, small, base"),
        (
            {"type": "mmcls.SwinTransformer", "use_abs_pos_embed": True},
            "model.backbone.use_abs_pos_embed: SwinTransformer of vidcore has no argument",
        ),
        ({"type": "mmcls.VGG", "depth": 16}, "model.backbone.type: no installed plugin"),
        ({"type": "mmdet.ResNet", "depth": 50}, "model.backbone.type: no installed plugin"),
        (
            {"type": "mmcls.ResNet", "depth": 50, "deep_stem": True},
            "model.backbone.deep_stem: ResNet of vidcore has no",
        ),
        ({"type": "torchvision.resnet50", "width": 2}, "model.backbone.width: ResNet of vidcore has no argument"),
        (
            {"type": "torchvision.resnet50", "weights": "V9"},
            "model.backbone.weights: must be IMAGENET1K_V1, IMAGENET1K_V2",
        ),
        (
            {"type": "timm.resnet50", "pretrained": True},
            "model.backbone.pretrained: is not converted; set train.weights",
        ),
    ],
)
def test_other_networks_are_reported(converted: Converted, backbone: dict[str, Any], problem: str) -> None:
    (line,) = converted(model=recognizer(**backbone)).problems
    assert line.startswith(problem)


@pytest.mark.parametrize("depth", [18, 50])
def test_the_weights_of_a_foreign_resnet_get_our_names(depth: int) -> None:
    with torch.device("meta"):
        ours = build_component({"type": "ResNet", "depth": depth}, "models").state_dict()
    foreign = {}
    for key, value in ours.items():
        name = key.replace("downsample.conv.", "downsample.0.").replace("downsample.bn.", "downsample.1.")
        for i in (1, 2, 3):
            name = name.replace(f"conv{i}.conv.", f"conv{i}.").replace(f"conv{i}.bn.", f"bn{i}.")
        foreign[f"backbone.{name}"] = value
    assert "backbone.layer1.0.bn1.weight" in foreign
    head = {"cls_head.fc_cls.weight": torch.ones(2, 2)}
    assert convert_weights({**foreign, **head}).keys() == {*(f"backbone.{key}" for key in ours), *head}


def test_the_weights_of_a_resnext_keep_their_names() -> None:
    with torch.device("meta"):
        state = build_component({"type": "ResNeXt", "depth": 50}, "models").state_dict()
    published = {f"backbone.{key}": value for key, value in state.items()}
    assert convert_weights(published).keys() == published.keys()


def test_the_weights_of_an_omni_resnet_keep_their_names() -> None:
    with torch.device("meta"):
        own = build_component({"type": "OmniResNet"}, "models").state_dict()
    published = {f"backbone.{key}": value for key, value in own.items()}
    assert "backbone.bn1.weight" in published
    assert convert_weights(published).keys() == published.keys()
