"""Model tables."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from vid_mmaction2.config import Imported
from vid_mmaction2.models import convert_model
from vidcore.config.bind import build_component
from vidcore.errors import ConfigError
from vidcore.plugins.catalog import Catalog

Converted = Callable[..., Imported]


def test_a_single_blending_and_tuples(catalog: Catalog) -> None:
    mixup = {"type": "MixupBlending", "num_classes": 5}
    table = {
        "type": "Recognizer3D",
        "backbone": {"type": "ResNet3d", "depth": 18, "out_indices": (3,)},
        "cls_head": {"type": "I3DHead", "in_channels": 512, "num_classes": 5, "topk": (1, 3)},
        "data_preprocessor": {
            "type": "ActionDataPreprocessor",
            "blending": {"type": "RandomBatchAugment", "augments": mixup, "probs": 0.5},
        },
    }
    model = convert_model(table, catalog)
    assert model["data_preprocessor"]["blending"]["augments"] == [mixup]
    assert model["data_preprocessor"]["blending"]["probs"] == [0.5]
    build_component(model, "models")


def test_a_preprocessor_next_to_the_model(converted: Converted, published: dict[str, Any]) -> None:
    model = copy.deepcopy(published["model"])
    own = model.pop("data_preprocessor")
    beside = converted(model=model, data_preprocessor=own)
    assert beside.problems == ()
    assert beside.task["model"] == converted().task["model"]
    other = {"type": "ActionDataPreprocessor", "mean": [0], "std": [1]}
    assert converted(data_preprocessor=other).task == converted().task


def test_slowfast_pathways_keep_published_defaults() -> None:
    backbone = {
        "type": "ResNet3dSlowFast",
        "resample_rate": 4,
        "speed_ratio": 4,
        "channel_ratio": 8,
        "slow_pathway": {"type": "resnet3d", "depth": 18, "pretrained": None, "lateral": True, "fusion_kernel": 7},
        "fast_pathway": {
            "type": "resnet3d",
            "depth": 18,
            "lateral": False,
            "base_channels": 8,
            "conv1_kernel": [5, 7, 7],
        },
    }
    head = {"type": "SlowFastHead", "in_channels": 576, "num_classes": 2, "average_clips": "prob"}
    model = convert_model({"type": "Recognizer3D", "backbone": backbone, "cls_head": head})
    assert model["backbone"] == {
        "type": "ResNet3dSlowFast",
        "resample_rate": 4,
        "speed_ratio": 4,
        "slow_pathway": {
            "depth": 18,
            "lateral": True,
            "fusion_kernel": 7,
            "conv1_kernel": [3, 7, 7],  # published defaults that differ from those of SlowPathway
            "inflate": [1, 1, 1, 1],
        },
        "fast_pathway": {"depth": 18, "base_channels": 8, "conv1_kernel": [5, 7, 7]},
    }
    with pytest.raises(ConfigError, match="channel_ratio: must be the ratio of the widths 64 and 8, found 4"):
        convert_model({"type": "Recognizer3D", "backbone": {**backbone, "channel_ratio": 4}, "cls_head": head})


def test_non_local_blocks_have_batch_norm_only_if_published() -> None:
    head = {"type": "I3DHead", "in_channels": 512, "num_classes": 2, "average_clips": "prob"}

    def options(**given: Any) -> Any:
        backbone = {"type": "ResNet3d", "depth": 18, "non_local": [0, 1, 0, 0], **given}
        return convert_model({"type": "Recognizer3D", "backbone": backbone, "cls_head": head})["backbone"][
            "non_local_cfg"
        ]

    assert options(non_local_cfg={"norm_cfg": {"type": "BN3d", "requires_grad": True}, "mode": "gaussian"}) == {
        "mode": "gaussian"
    }
    assert options(non_local_cfg={"mode": "gaussian"}) == {"mode": "gaussian", "norm": False}
    assert options() == {"norm": False}


@pytest.mark.parametrize(
    ("flags", "stage"),
    [
        ({"is_first_stage": True, "is_second_stage": False}, "first"),
        ({"is_second_stage": True}, "second"),
        ({}, "third"),
    ],
)
def test_flags_of_drn_become_its_stage(flags: dict[str, bool], stage: str, catalog: Catalog) -> None:
    unread = {"graph_node_features": 1024, "fcos_nms_thr": 0.6, "fcos_num_class": 2}
    table = {"type": "DRN", "vocab_size": 7, "fpn_stride": [1, 2, 4], **unread, **flags}
    model = convert_model(table, catalog)
    assert model == {"type": "DRN", "vocab_size": 7, "fpn_stride": [1, 2, 4], "stage": stage}


def test_a_head_for_features(catalog: Catalog) -> None:
    table = {
        "type": "Recognizer2D",
        "backbone": {"type": "ResNet", "depth": 18},
        "cls_head": {"type": "FeatureHead", "backbone_name": "tsn", "num_segments": 8, "temporal_type": "max"},
        "test_cfg": {"average_clips": None},
    }
    assert convert_model(table, catalog)["cls_head"] == {"type": "FeatureHead", "temporal_type": "max"}


def test_a_blending_for_other_classes_is_that_of_the_head(converted: Converted, published: dict[str, Any]) -> None:
    model = copy.deepcopy(published["model"])
    classes = model["cls_head"]["num_classes"]
    mixup, cutmix = ({"type": f"{name}Blending", "num_classes": classes + 1} for name in ("Mixup", "Cutmix"))
    model["data_preprocessor"]["blending"] = {"type": "RandomBatchAugment", "augments": [mixup, cutmix]}
    imported = converted(model=model)
    assert imported.problems == ()
    blending = imported.task["model"]["data_preprocessor"]["blending"]
    assert [part["num_classes"] for part in blending["augments"]] == [classes, classes]
    note = f"blending: is for {classes} classes, as cls_head is, not {classes + 1}"
    assert any(line.endswith(note) for line in imported.notes)
    model["data_preprocessor"]["blending"] = mixup
    assert converted(model=model).task["model"]["data_preprocessor"]["blending"] == {**mixup, "num_classes": classes}


def test_transformers_have_their_norms_and_activations() -> None:
    table = {"type": "MViT", "arch": "s", "norm_cfg": {"type": "LN", "eps": 1e-6}, "pretrained_type": "maskfeat"}
    head = {"type": "MViTHead", "num_classes": 5, "in_channels": 768}
    model = convert_model({"type": "Recognizer3D", "backbone": table, "cls_head": head})
    assert model["backbone"] == {"type": "MViT", "arch": "small"}
    swin = {"type": "SwinTransformer3D", "arch": {"embed_dims": 8, "depths": [1], "num_heads": [2]}}
    model = convert_model({"type": "Recognizer3D", "backbone": {**swin, "act_cfg": {"type": "GELU"}}, "cls_head": head})
    assert model["backbone"] == {**swin, "bias_of_small_windows": "first"}
    swin |= {"norm_cfg": {"type": "LN", "eps": 1e-6}, "act_cfg": {"type": "ReLU"}}
    with pytest.raises(
        ConfigError, match=r"norm_cfg: must be LN with an eps of 1e-05(.|\n)*act_cfg: must be GELU, found"
    ):
        convert_model({"type": "Recognizer3D", "backbone": swin, "cls_head": head})


@pytest.mark.parametrize(
    ("backbone", "layers"),
    [
        ({"norm_cfg": {"type": "GN", "num_groups": 16}}, {"norm": "group", "num_groups": 16}),
        ({"norm_cfg": {"type": "SubBatchNorm3D", "num_splits": 2}}, {"norm": "sub_batch", "num_splits": 2}),
        ({"norm_cfg": {"type": "BN3d", "requires_grad": False}}, {"train_norms": False}),
        ({"act_cfg": {"type": "Swish"}, "norm_cfg": {"type": "BN3d"}}, {"activation": "silu"}),
        ({"act_cfg": {"type": "ReLU", "inplace": True}, "norm_cfg": {"type": "BN3d", "requires_grad": True}}, None),
    ],
)
def test_norms_and_activations_are_options_of_the_recognizer(
    catalog: Catalog, backbone: dict[str, Any], layers: dict[str, Any] | None
) -> None:
    head = {"type": "I3DHead", "num_classes": 2, "in_channels": 512}
    table = {"type": "Recognizer3D", "backbone": {"type": "ResNet3d", "depth": 18, **backbone}, "cls_head": head}
    found = convert_model(table, catalog)
    assert found.get("layers") == layers
    assert set(found["backbone"]) == {"type", "depth"}
    wrong = {**table, "backbone": {"type": "ResNet3d", "depth": 18, "norm_cfg": {"type": "LN"}}}
    with pytest.raises(ConfigError, match=r"norm_cfg: only default batch norm can be converted, found LN"):
        convert_model(wrong, catalog)


@pytest.mark.parametrize(
    ("published", "converted"),
    [
        ("configs/recognition/uniformerv2/k710_channel_map/map_k400.json", "kinetics400"),
        ("map_k700.json", "kinetics700"),
        ("mine/map_k500.json", "mine/map_k500.json"),
        ("mine/my_map_k400.json", "mine/my_map_k400.json"),
    ],
)
def test_published_maps_of_kinetics_710_have_names(published: str, converted: str, catalog: Catalog) -> None:
    head = {"type": "UniFormerHead", "num_classes": 400, "in_channels": 8, "channel_map": published}
    found = convert_model(head, catalog)
    assert found["channel_map"] == converted
    build_component(found, "models")
