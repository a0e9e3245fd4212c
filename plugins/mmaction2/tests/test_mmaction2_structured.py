"""Configurations of structured segment networks, which are in the layout of 0.x."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from vid_mmaction2.config import Imported, convert_config
from vidcore.plugins.catalog import Catalog
from vidcore.task.task import Task

ASSIGNER = {
    "positive_iou_threshold": 0.7,
    "background_iou_threshold": 0.01,
    "incomplete_iou_threshold": 0.3,
    "background_coverage_threshold": 0.02,
    "incomplete_overlap_threshold": 0.01,
}
NUMBERS = {"num_per_video": 8, "positive_ratio": 1, "background_ratio": 1, "incomplete_ratio": 6}
TRAIN = {
    "ssn": {
        "assigner": ASSIGNER,
        "sampler": {**NUMBERS, "add_gt_as_proposals": True},
        "loss_weight": {"comp_loss_weight": 0.1, "reg_loss_weight": 0.2},
        "debug": False,
    }
}
TEST = {
    "ssn": {
        "sampler": {"test_interval": 6, "batch_size": 16},
        "evaluater": {"top_k": 2000, "nms": 0.2, "softmax_before_filter": True, "cls_score_dict": None, "cls_top_k": 2},
    }
}
SEGMENTS = {"body_segments": 5, "aug_segments": [2, 2], "aug_ratio": [0.5, 0.5]}


def part(mode: str) -> dict[str, Any]:
    steps = [
        {"type": "SampleProposalFrames", "clip_len": 1, **SEGMENTS, "mode": mode, "test_interval": 6},
        {"type": "RawFrameDecode"},
        {"type": "Resize", "scale": [224, 224], "keep_ratio": False},
        {"type": "Normalize", "mean": [104, 117, 128], "std": [1, 1, 1], "to_bgr": False},
        {"type": "FormatShape", "input_format": "NCHW"},
        {"type": "Collect", "keys": ["imgs", "proposal_type"], "meta_keys": []},
    ]
    files = {"ann_file": f"{mode}.txt", "data_prefix": "rawframes"}
    options = {"train_cfg": TRAIN, "test_cfg": TEST, **SEGMENTS, "test_mode": mode == "test", "filter_gt": True}
    return {"type": "SSNDataset", **files, **options, "pipeline": steps}


CONFIG: dict[str, Any] = {
    "model": {
        "type": "SSN",
        "backbone": {"type": "ResNet", "depth": 50, "norm_eval": False, "partial_bn": True},
        "in_channels": 3,
        "spatial_type": "avg",
        "dropout_ratio": 0.8,
        "loss_cls": {"type": "SSNLoss"},
        "cls_head": {
            "type": "SSNHead",
            "dropout_ratio": 0.0,
            "in_channels": 2048,
            "num_classes": 20,
            "consensus": {"type": "STPPTrain", "stpp_cfg": [1, [1, 2], 1], "num_seg": [2, 5, 2]},
            "use_regression": True,
        },
        "train_cfg": TRAIN,
        "test_cfg": TEST,
    },
    "data": {"videos_per_gpu": 1, "workers_per_gpu": 2, "train": part("train"), "test": part("test")},
    "optimizer": {"type": "SGD", "lr": 0.001, "momentum": 0.9, "weight_decay": 1e-6},
    "optimizer_config": {"grad_clip": {"max_norm": 40, "norm_type": 2}},
    "lr_config": {"policy": "step", "step": [200, 400]},
    "total_epochs": 450,
    "evaluation": {"interval": 5, "metrics": ["mAP"], "metric_options": {"mAP": {"eval_dataset": "thumos14"}}},
}


def changed(catalog: Catalog, path: str = "", value: Any = None) -> Imported:
    config = at = copy.deepcopy(CONFIG)
    *above, last = path.split(".")
    for key in above:
        at = at[key]
    if path:
        at[last] = value
    return convert_config(config, catalog)


def test_a_network_with_its_data(catalog: Catalog) -> None:
    imported = changed(catalog)
    assert imported.problems == ()
    task = imported.task
    Task.from_table(task, catalog)
    loss = {"completeness_weight": 0.1, "regression_weight": 0.2, "foreground": 1, "incomplete": 6}
    assert task["model"]["loss"] == {"type": "SSNLoss", **loss}
    assert {key: task["model"][key] for key in ("dropout_ratio", "max_testing_views", "top_k", "nms")} == {
        "dropout_ratio": 0.8,
        "max_testing_views": 16,
        "top_k": 2000,
        "nms": 0.2,
    }
    assert task["model"]["cls_head"]["stpp_stage"] == [[1], [1, 2], [1]]
    assert task["model"]["cls_head"]["num_segments"] == [2, 5, 2]
    train, test = task["data"]["train"], task["data"]["test"]
    assert list(train["pipeline"]) == ["proposals", "sample", "decode", "resize", "format"]
    numbers = {"foreground": 1, "incomplete": 6, "background": 1}
    assert train["pipeline"]["proposals"] == {"type": "SampleProposals", **ASSIGNER, **numbers}
    assert train["pipeline"]["sample"]["aug_ratio"] == 0.5
    files = {"type": "SSNDataset", "data_root": "rawframes"}
    assert train["dataset"] == {**files, "ann_file": "train.txt", "filter_gt": True}
    assert test["dataset"] == {**files, "ann_file": "test.txt", "bad_segments": "keep"}
    assert test["pipeline"]["sample"]["test_mode"] is True
    assert "proposals" not in test["pipeline"]
    assert task["metrics"] == {"thumos": {"type": "THUMOSMetric"}}


def test_constants_of_the_regression_are_the_networks(catalog: Catalog) -> None:
    constants = [[-0.1, 0.03], [0.08, 0.1]]
    imported = changed(catalog, "data.train.reg_normalize_constants", constants)
    assert imported.problems == ()
    assert imported.task["model"]["reg_normalize_constants"] == constants
    Task.from_table(imported.task, catalog)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("data.train.video_centric", False, "data.train.video_centric: must be true; the proposals of a sample"),
        (
            "data.train.train_cfg",
            {"assigner": {"iou": 1}},
            "data.train.train_cfg.iou: SampleProposals of vidcore has no",
        ),
        ("data.train.train_cfg", {"sampler": {"add_gt_as_proposals": False}}, "add_gt_as_proposals: must be true"),
        ("model.spatial_type", "max", "model.spatial_type: must be avg"),
        ("model.train_cfg", {"ssn": {"loss": {}}}, "model.train_cfg.loss: has no equivalent here"),
        ("model.test_cfg", {"evaluater": {"softmax_before_filter": False}}, "softmax_before_filter: must be True"),
        ("model.cls_head.consensus.type", "Mean", "model.cls_head.consensus.type: must be STPPTrain or STPPTest"),
        ("evaluation.metric_options", {"mAP": {"eval_dataset": "x"}}, "evaluation.metric_options: must be dict(mAP"),
    ],
)
def test_what_differs_is_reported(catalog: Catalog, path: str, value: Any, problem: str) -> None:
    (line,) = changed(catalog, path, value).problems
    assert problem in line


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("mode", "val", "mode: must be train or test"),
        ("aug_ratio", [0.5, 1.0], "aug_ratio: must be the same before and"),
    ],
)
def test_frames_of_proposals(catalog: Catalog, key: str, value: Any, problem: str) -> None:
    config = copy.deepcopy(CONFIG)
    config["data"]["train"]["pipeline"][0][key] = value
    (line,) = convert_config(config, catalog).problems
    assert line.startswith(f"data.train.pipeline[0].{problem}")


def test_the_suffix_of_feature_files(catalog: Catalog) -> None:
    steps = [{"type": "LoadLocalizationFeature", "raw_feature_ext": ".npy"}]
    dataset = {"type": "ActivityNetDataset", "ann_file": "a.json", "data_prefix": "f", "pipeline": steps}
    tem = {"temporal_dim": 100, "boundary_ratio": 0.1, "tem_feat_dim": 400, "tem_hidden_dim": 512}
    model = {"type": "TEM", **tem, "tem_match_threshold": 0.5}
    imported = convert_config({"model": model, "train_dataloader": {"batch_size": 2, "dataset": dataset}}, catalog)
    assert imported.problems == ()
    assert imported.task["data"]["train"]["dataset"]["suffix"] == ".npy"
    Task.from_table(imported.task, catalog)
