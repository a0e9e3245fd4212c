"""Import of detectors of the actions of boxes: models, data, scores."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from vid_mmaction2.config import convert_config
from vid_mmaction2.models import convert_model
from vidcore.errors import ConfigError
from vidcore.plugins.catalog import Catalog

MODEL: dict[str, Any] = {
    "type": "FastRCNN",
    "_scope_": "mmdet",
    "backbone": {"type": "mmaction.ResNet3dSlowOnly", "depth": 50, "pretrained": None, "lateral": False},
    "roi_head": {
        "type": "AVARoIHead",
        "bbox_roi_extractor": {"type": "SingleRoIExtractor3D", "roi_layer_type": "RoIAlign", "output_size": 8},
        "bbox_head": {"type": "BBoxHeadAVA", "in_channels": 2048, "num_classes": 81, "topk": 3},
    },
    "train_cfg": {
        "rcnn": {
            "assigner": {"type": "MaxIoUAssignerAVA", "pos_iou_thr": 0.8, "neg_iou_thr": 0.8, "min_pos_iou": 0.8},
            "sampler": {"type": "RandomSampler", "num": 16},
            "pos_weight": 2.0,
        }
    },
    "test_cfg": {"rcnn": None},
}
BANK = {
    "type": "FBOHead",
    "lfb_cfg": {"lfb_prefix_path": "banks", "max_num_sampled_feat": 5, "window_size": 60, "lfb_channels": 2048},
    "fbo_cfg": {"type": "non_local", "st_feat_channels": 2048, "lt_feat_channels": 2048, "num_lt_feat": 300},
}


def changed(**settings: Any) -> dict[str, Any]:
    """Return the model with other settings: ``{"a.b": value}`` as ``a__b``."""
    model = copy.deepcopy(MODEL)
    for place, value in settings.items():
        *path, last = place.split("__")
        table = model
        for key in path:
            table = table.setdefault(key, {})
        table[last] = value
    return model


def test_training_options_become_arguments_and_the_background_is_not_a_class(catalog: Catalog) -> None:
    model = convert_model(MODEL, catalog)
    assert model["assigner"] == {"pos_iou_thr": 0.8, "neg_iou_thr": 0.8, "min_pos_iou": 0.8}
    assert (model["sampler"], model["pos_weight"]) == ({"num": 16}, 2.0)
    head = model["roi_head"]["bbox_head"]
    assert (head["num_classes"], head["background_class"], head["topk"]) == (80, True, [3])
    plain = changed(roi_head__bbox_head__background_class=False)
    assert convert_model(plain, catalog)["roi_head"]["bbox_head"]["num_classes"] == 81


def test_a_feature_bank_is_a_folder(catalog: Catalog) -> None:
    shared = convert_model(changed(roi_head__shared_head=BANK), catalog)["roi_head"]["shared_head"]
    assert shared["lfb_cfg"] == {"bank": "banks", "max_num_sampled_feat": 5, "window_size": 60, "lfb_channels": 2048}
    assert shared["fbo_cfg"] == {"operator": "non_local", "st_feat_channels": 2048}
    writer = {"type": "LFBInferHead", "lfb_prefix_path": "banks"}
    assert "shared_head" not in convert_model(changed(roi_head__shared_head=writer), catalog)["roi_head"]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"train_cfg__rcnn__assigner__type": "MaxIoUAssigner"}, r"assigner\.type: must be MaxIoUAssignerAVA"),
        ({"train_cfg__rcnn__sampler__type": "OHEMSampler"}, r"sampler\.type: must be RandomSampler, found OHEMSampler"),
        ({"test_cfg__rcnn": {"action_thr": 0.1}}, r"model\.test_cfg\.rcnn: has no equivalent here"),
        ({"train_cfg__rpn": {}}, r"model\.train_cfg\.rpn: has no equivalent here"),
        (
            {"roi_head__bbox_roi_extractor__roi_layer_type": "RoIPool"},
            "roi_layer_type: must be RoIAlign, found RoIPool",
        ),
        (
            {"roi_head__shared_head": BANK | {"fbo_cfg": BANK["fbo_cfg"] | {"num_lt_feat": 60}}},
            "num_lt_feat: must be 300",
        ),
        ({"_scope_": "mmdet3d"}, r"no installed plugin offers a component named 'mmdet3d\.FastRCNN'"),
    ],
)
def test_what_cannot_be_converted_is_a_problem(catalog: Catalog, settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        convert_model(changed(**settings), catalog)


def loader(**dataset: Any) -> dict[str, Any]:
    data = {"type": "AVADataset", "data_prefix": {"img": "frames"}, "pipeline": [], **dataset}
    return {"batch_size": 1, "num_workers": 0, "dataset": data}


def test_data_and_scores_of_ava(catalog: Catalog) -> None:
    metric = {"type": "AVAMetric", "ann_file": "val.csv", "exclude_file": "out.csv", "label_file": "l.pbtxt"}
    config = {
        "model": MODEL,
        "test_dataloader": loader(ann_file="val.csv", label_file="l.pbtxt", num_classes=81, use_frames=True),
        "test_evaluator": metric,
        "val_dataloader": loader(type="AVAKineticsDataset", ann_file="val.csv"),
    }
    found = convert_config(config, catalog)
    assert not found.problems
    dataset = {"type": "AVADataset", "ann_file": "val.csv", "label_file": "l.pbtxt", "data_root": "frames"}
    assert found.task["data"]["test"]["dataset"] == dataset
    assert found.task["data"]["val"]["dataset"]["start_index"] == 0, "frames of clips count from 0"
    assert found.task["metrics"]["ava"] == {"rules": "published", **metric}


def test_tables_made_from_multisports_are_read_from_its_tubes(catalog: Catalog) -> None:
    options = {"F_mAP": {"thr": 0.5}, "V_mAP": {"thr": [0.2], "all": True, "tube_thr": 10}}
    config = {
        "model": MODEL,
        "train_dataloader": loader(ann_file="data/multisports_train.csv", num_classes=66, fps=1, timestamp_start=1),
        "test_dataloader": loader(ann_file="data/multisports_val.csv", person_det_score_thr=0.5),
        "test_evaluator": {"type": "MultiSportsMetric", "ann_file": "gt.pkl", "metric_options": options},
    }
    found = convert_config(config, catalog)
    assert not found.problems
    tubes = {"type": "TubeDataset", "ann_file": "data/multisports_GT.pkl", "data_root": "frames"}
    parts = [found.task["data"][part]["dataset"] for part in ("train", "test")]
    assert parts == [
        {**tubes, "subset": "train", "person_det_score_thr": 0.9},
        {**tubes, "subset": "test", "person_det_score_thr": 0.5},
    ]
    assert any("multisports_train.csv was made from data/multisports_GT.pkl" in note for note in found.notes)
    assert found.task["metrics"]["multi_sports"] == {
        "type": "MultiSportsMetric",
        "last_score": True,
        "ann_file": "gt.pkl",
        "frame_threshold": 0.5,
        "video_thresholds": [0.2],
        "min_length": 10,
    }
