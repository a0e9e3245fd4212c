"""Configurations of MMAction2 0.x."""

from __future__ import annotations

import time
from typing import Any

import pytest

from vid_mmaction2.config import Imported, convert_config
from vidcore.plugins.catalog import Catalog
from vidcore.task.task import Task


def test_the_layout_of_0x_gives_the_same_task(
    catalog: Catalog, older: dict[str, Any], published: dict[str, Any]
) -> None:
    imported = convert_config(older, catalog)
    assert imported.problems == ()
    task = imported.task
    Task.from_table(task, catalog)
    newer = {
        **published,
        "optim_wrapper": {
            "optimizer": {"type": "SGD", "lr": 0.1, "momentum": 0.9},
            "paramwise_cfg": {"norm_decay_mult": 0.0},
            "clip_grad": {"max_norm": 40, "norm_type": 2},
        },
        "param_scheduler": [
            {"type": "LinearLR", "start_factor": 0.1, "end": 5, "by_epoch": True, "convert_to_iter_based": True},
            {"type": "CosineAnnealingLR", "T_max": 30, "end": 30, "eta_min": 0, "by_epoch": True},
        ],
    }
    wanted = convert_config(newer, catalog).task
    assert task["data"]["test"]["dataset"].pop("ann_file") == "data/k400/test.txt"
    assert task["data"]["test"]["dataset"].pop("data_root") == "data/k400/videos_test"
    del wanted["data"]["test"]["dataset"]["ann_file"], wanted["data"]["test"]["dataset"]["data_root"]
    assert task["data"] == wanted["data"]
    for name in ("optimizer", "param_groups", "schedule"):
        assert task[name] == wanted[name]
    assert task["train"] == {**wanted["train"], "best": "acc/top1"}
    preprocessor = {"type": "ActionDataPreprocessor", "mean": [1.5, 2, 3], "std": [4, 5, 6], "to_rgb": False}
    assert task["model"] == {
        **wanted["model"],
        "cls_head": {**wanted["model"]["cls_head"], "average_clips": "prob"},
        "data_preprocessor": {**preprocessor, "format_shape": "NCTHW"},
    }
    metrics = ["top_k_accuracy", "mean_class_accuracy"]
    assert task["metrics"] == {"acc": {"type": "AccMetric", "metric_list": metrics, "topk": [1, 3]}}
    assert task["observers"] == {"tensorboard": {"type": "TensorBoard"}}
    assert imported.left_out == ("work_dir: ./work_dirs/slowonly: use vidcore run --dir",)
    assert imported.variables == ("dataset_type",)


@pytest.mark.parametrize(
    ("lr_config", "schedule"),
    [
        (
            {"policy": "step", "step": [8, 11], "gamma": 0.5},
            {"type": "MultiStepLR", "milestones": [8, 11], "gamma": 0.5},
        ),
        ({"policy": "step", "step": 7}, {"type": "StepLR", "step_size": 7}),
        (
            {"policy": "poly", "power": 0.7, "min_lr": 0.01},
            {"type": "PolyLR", "end": 30, "power": 0.7, "eta_min": 0.01},
        ),
        ({"policy": "exp", "gamma": 0.5}, {"type": "ExponentialLR", "gamma": 0.5}),
        (
            {"policy": "CosineAnnealing", "min_lr_ratio": 0.01, "by_epoch": False},
            {"type": "CosineAnnealingLR", "T_max": 30, "end": 30, "eta_min_ratio": 0.01, "convert_to_iter_based": True},
        ),
        (
            {"policy": "CosineRestart", "periods": [5, 25], "restart_weights": [1, 0.5], "min_lr": 0.001},
            {"type": "CosineRestartLR", "periods": [5, 25], "restart_weights": [1, 0.5], "eta_min": 0.001},
        ),
        (
            {"policy": "FlatCosineAnnealing", "start_percent": 0.5, "min_lr": 0.01},
            {"type": "CosineAnnealingLR", "begin": 15, "T_max": 15, "end": 30, "eta_min": 0.01},
        ),
        (
            {"policy": "LinearAnnealing", "min_lr_ratio": 0.01},
            {"type": "LinearLR", "start_factor": 1.0, "end_factor": 0.01, "end": 30},
        ),
    ],
)
def test_policies_become_schedules(
    catalog: Catalog, older: dict[str, Any], lr_config: dict[str, Any], schedule: dict[str, Any]
) -> None:
    imported = convert_config(older | {"lr_config": lr_config}, catalog)
    assert imported.problems == ()
    (found,) = imported.task["schedule"].values()
    assert found == {**schedule, "by_epoch": True}
    Task.from_table(imported.task, catalog)


def test_the_schedule_of_tin_begins_after_the_warm_up(catalog: Catalog, older: dict[str, Any]) -> None:
    policy = {"policy": "TIN", "min_lr": 0, "warmup": "linear", "warmup_iters": 1, "warmup_by_epoch": True}
    imported = convert_config(older | {"lr_config": {**policy, "by_epoch": False}}, catalog)
    assert imported.problems == ()
    converted = {"by_epoch": True, "convert_to_iter_based": True}
    assert imported.task["schedule"] == {  # as the published configuration of 1.x
        "warmup": {"type": "LinearLR", "start_factor": 0.1, "end": 1, **converted},
        "cosine": {"type": "CosineAnnealingLR", "begin": 1, "T_max": 29, "end": 30, "eta_min": 0, **converted},
    }
    (problem,) = convert_config(older | {"lr_config": {**policy, "warmup_by_epoch": False}}, catalog).problems
    assert problem == "lr_config.warmup_by_epoch: must be True with TIN, like the training"


def test_a_warm_up_by_iterations_and_a_fixed_rate(catalog: Catalog, older: dict[str, Any]) -> None:
    policy = {"policy": "fixed", "warmup": "constant", "warmup_iters": 500, "warmup_ratio": 0.25}
    imported = convert_config(older | {"lr_config": policy}, catalog)
    assert imported.problems == ()
    (found,) = imported.task["schedule"].values()
    assert found == {"type": "ConstantLR", "factor": 0.25, "end": 500, "by_epoch": False}


def test_a_schedule_of_the_momentum(catalog: Catalog, older: dict[str, Any]) -> None:
    policy = {"policy": "CosineAnnealing", "min_momentum": 0.85}
    imported = convert_config(older | {"momentum_config": policy}, catalog)
    assert imported.problems == ()
    assert imported.task["schedule"]["cosine_momentum"] == {
        "type": "CosineAnnealingLR",
        "T_max": 30,
        "end": 30,
        "eta_min": 0.85,
        "by_epoch": True,
        "param": "momentum",
    }
    Task.from_table(imported.task, catalog)


def test_joined_datasets(catalog: Catalog, older: dict[str, Any]) -> None:
    part = older["data"]["train"]
    older["data"]["train"] = {"type": "ConcatDataset", "datasets": [part, {**part, "ann_file": "more.txt"}]}
    imported = convert_config(older, catalog)
    assert imported.problems == ()
    train = imported.task["data"]["train"]
    assert [d["ann_file"] for d in train["dataset"]["datasets"]] == ["data/k400/train.txt", "more.txt"]
    assert "format" in train["pipeline"]
    Task.from_table(imported.task, catalog)


def test_a_run_in_iterations(catalog: Catalog, older: dict[str, Any]) -> None:
    del older["total_epochs"]
    changes = {
        "runner": {"type": "IterBasedRunner", "max_iters": 900},
        "lr_config": {"policy": "step", "step": [300], "by_epoch": False},
        "evaluation": {"interval": 100, "start": 200},
        "checkpoint_config": {"interval": 50, "by_epoch": False},
    }
    imported = convert_config(older | changes, catalog)
    assert imported.problems == ()
    train = imported.task["train"]
    assert [train[k] for k in ("steps", "val_interval", "val_begin", "checkpoint_interval")] == [900, 100, 200, 50]
    assert imported.task["schedule"]["step"] == {"type": "MultiStepLR", "milestones": [300], "by_epoch": False}


def test_optimizers_and_hooks(catalog: Catalog, older: dict[str, Any]) -> None:
    changes = {
        "optimizer": {
            "type": "CopyOfSGD",
            "lr": 0.1,
            "constructor": "TSMOptimizerConstructor",
            "paramwise_cfg": {"fc_lr5": True},
        },
        "optimizer_config": {"type": "DistOptimizerHook", "update_interval": 8, "grad_clip": None, "use_fp16": True},
        "precise_bn": {"num_iters": 50},
        "cudnn_benchmark": True,
        "seed": 3,
        "resume_from": "old.pth",
    }
    imported = convert_config(older | changes, catalog)
    assert imported.problems == ()
    task = imported.task
    assert task["optimizer"] == {"type": "SGD", "lr": 0.1}
    assert task["param_groups"] == {"type": "TSMGroups", "fc_lr5": True}
    assert (task["train"]["accumulate"], task["train"]["precise_bn"]) == (8, 50)
    assert task["runtime"] == {"precision": "fp16", "cudnn_benchmark": True, "seed": 3}
    assert "resume_from: old.pth: use vidcore run --resume-from" in imported.left_out


def test_proposals_of_0x(catalog: Catalog) -> None:
    files = {"ann_file": "a.json", "data_prefix": "features"}
    steps = [{"type": "LoadLocalizationFeature"}, {"type": "GenerateLocalizationLabels"}]
    collect = {"type": "Collect", "keys": ["raw_feature", "gt_bbox"], "meta_name": "m", "meta_keys": ["video_name"]}
    dataset = {"type": "ActivityNetDataset", **files, "pipeline": [*steps, collect]}
    tem = {"temporal_dim": 100, "boundary_ratio": 0.1, "tem_feat_dim": 400, "tem_hidden_dim": 512}
    config = {
        "model": {"type": "TEM", **tem, "tem_match_threshold": 0.5},
        "data": {"videos_per_gpu": 8, "workers_per_gpu": 8, "train": dataset, "val": dataset},
        "optimizer": {"type": "Adam", "lr": 0.001},
        "lr_config": {"policy": "step", "step": 7},
        "total_epochs": 9,
        "evaluation": {"interval": 1, "metrics": ["AR@AN"]},
        "output_config": {"out": "results.json", "output_format": "json"},
    }
    imported = convert_config(config, catalog)
    assert imported.problems == ()
    assert imported.task["metrics"] == {"anet": {"type": "ANetMetric", "metric_type": "AR@AN"}}
    assert imported.task["data"]["train"]["pipeline"] == {"features": {"type": "LoadLocalizationFeature"}}
    Task.from_table(imported.task, catalog)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("data.train.pipeline", [{"type": "X"}], "data.train.pipeline[0].type: no installed plugin"),
        ("data.train.filename", 3, "data.train.filename: VideoDataset of vidcore has no argument"),
        ("data.train_dataloader.x", 3, "data.train_dataloader.x: has no equivalent"),
        ("data.extra", {}, "data.extra: has no equivalent here"),
        ("data.train", [], "data.train: must be a table; a list of datasets"),
        ("lr_config", {"policy": "cyclic"}, "lr_config.policy: 'cyclic' is not converted"),
        ("lr_config", {"policy": "step", "step": 3, "x": 1}, "lr_config.x: StepLR of vidcore has no argument"),
        ("lr_config.warmup", "exp", "lr_config.warmup: must be linear or constant, found 'exp'"),
        ("evaluation.save_best", "best", "evaluation.save_best: must be topN_acc or one of auto, top_k"),
        ("evaluation.by_epoch", False, "evaluation.by_epoch: must be True"),
        ("evaluation.metrics", ["f1"], "metric_list"),
        ("optimizer_config.type", "MyHook", "optimizer_config.type: MyHook has no equivalent here"),
        ("optimizer.constructor", "Mine", "optimizer.constructor: Mine has no equivalent here"),
        ("runner", {"type": "MyRunner"}, "runner.type: MyRunner has no equivalent here"),
        ("momentum_config", {"policy": "cyclic"}, "momentum_config.policy: 'cyclic' is not converted"),
        ("momentum_config", {"policy": "step", "step": 3, "x": 1}, "momentum_config.x: StepLR of vidcore has no"),
        ("omnisource", True, "omnisource: several training loaders"),
        ("total_epochs", None, ""),
    ],
)
def test_problems_name_the_place_in_the_file(
    catalog: Catalog, older: dict[str, Any], path: str, value: Any, problem: str
) -> None:
    *above, last = path.split(".")
    at = older
    for key in above:
        at = at[key]
    at[last] = value
    problems = convert_config(older, catalog).problems
    assert all(problem in line for line in problems)
    assert len(problems) == (1 if problem and "metric_list" not in problem else 0)


def test_normalizations_that_differ_are_reported(catalog: Catalog, older: dict[str, Any]) -> None:
    step = next(step for step in older["data"]["val"]["pipeline"] if step["type"] == "Normalize")
    step["to_bgr"] = True
    (problem,) = convert_config(older, catalog).problems
    assert problem.startswith("data.val.pipeline[6]: must be equal to data.train.pipeline[6]: frames are normalised")


def test_long_keys_take_no_time(catalog: Catalog, older: dict[str, Any]) -> None:
    key = "a." * 200_000
    older["dist_params"] = {key: 1}
    older["data"]["train"] = {"type": "VideoDataset", "pipeline": [{"type": "SampleFrames", key: 1}]}
    start = time.process_time()
    imported = convert_config(older, catalog)
    assert time.process_time() - start < 1
    assert any(line.startswith("dist_params.a.a.a.") for line in imported.left_out)


def test_classes_in_equal_numbers(catalog: Catalog, older: dict[str, Any]) -> None:
    older["data"]["train"] |= {"sample_by_class": True, "power": 0.5}
    imported = convert_config(older, catalog)
    assert imported.problems == ()
    assert imported.task["data"]["train"]["balanced"] is True
    assert imported.task["data"]["train"]["balance_power"] == 0.5
    Task.from_table(imported.task, catalog)


def repeated(imported: Imported) -> Any:
    return imported.task["data"]["train"]["dataset"]


def test_wrapped_datasets_and_transforms(catalog: Catalog, older: dict[str, Any]) -> None:
    inner = older["data"]["train"]
    inner["pipeline"].insert(4, {"type": "pytorchvideo.RandAugment", "magnitude": 7, "num_layers": 4})
    older["data"]["train"] = {"type": "RepeatDataset", "times": 10, "dataset": inner}
    imported = convert_config(older, catalog)
    assert imported.problems == ()
    assert (repeated(imported)["times"], repeated(imported)["dataset"]["type"]) == (10, "VideoDataset")
    pipeline = imported.task["data"]["train"]["pipeline"]
    assert pipeline["augment"] == {"type": "RandAugment", "magnitude": 7, "num_layers": 4}
    inner["pipeline"][4]["zzz"] = 1
    (problem,) = convert_config(older, catalog).problems
    assert problem.startswith("data.train.dataset.pipeline[4].zzz: ")


def test_the_magnitude_of_flow_is_a_step(catalog: Catalog, older: dict[str, Any]) -> None:
    for part in ("train", "val"):
        step = next(step for step in older["data"][part]["pipeline"] if step["type"] == "Normalize")
        step |= {"mean": [128, 128], "std": [128, 128], "adjust_magnitude": True}
    imported = convert_config(older, catalog)
    pipeline = imported.task["data"]["train"]["pipeline"]
    assert pipeline["adjust_flow_magnitude"] == {"type": "AdjustFlowMagnitude", "zero": 128}
    assert imported.task["model"]["data_preprocessor"]["mean"] == [128, 128]


def test_sound(catalog: Catalog, older: dict[str, Any]) -> None:
    head = {"type": "AudioTSNHead", "in_channels": 512, "num_classes": 400}
    older["model"] = {
        "type": "AudioRecognizer",
        "backbone": {"type": "ResNet", "depth": 18, "in_channels": 1},
        "cls_head": head,
    }
    steps = [
        {"type": "LoadAudioFeature"},
        {"type": "SampleFrames", "clip_len": 64, "frame_interval": 1, "num_clips": 1},
        {"type": "AudioFeatureSelector"},
        {"type": "FormatAudioShape", "input_format": "NCTF"},
        {"type": "Collect", "keys": ["audios", "label"], "meta_keys": []},
        {"type": "ToTensor", "keys": ["audios"]},
    ]
    data = {"type": "AudioFeatureDataset", "ann_file": "list.txt", "data_prefix": "features", "pipeline": steps}
    older["data"] = {"videos_per_gpu": 320, "workers_per_gpu": 1, "train": data, "val": data, "test": data}
    found = convert_config(older, catalog)
    assert not found.problems
    assert head["type"] == "AudioTSNHead", "the configuration is not changed"
    assert (found.task["model"]["type"], found.task["model"]["cls_head"]["type"]) == ("RecognizerAudio", "TSNAudioHead")
    train = found.task["data"]["train"]
    assert train["dataset"] == {
        "type": "AudioDataset",
        "ann_file": "list.txt",
        "suffix": ".npy",
        "data_root": "features",
    }
    assert list(train["pipeline"]) == ["load", "sample", "select", "format"]
    Task.from_table(found.task, catalog)
    steps[0] = {"type": "AudioDecodeInit"}
    problem = "data.train.pipeline[0].type: AudioDecodeInit has no equivalent; use LoadAudioFeature, "
    assert convert_config(older, catalog).problems[0].startswith(problem)


def test_sound_beside_folders_of_frames(catalog: Catalog, older: dict[str, Any]) -> None:
    steps = [
        {"type": "SampleFrames", "clip_len": 8, "frame_interval": 2, "num_clips": 1},
        {"type": "RawFrameDecode"},
        {"type": "LoadAudioFeature"},
        {"type": "FormatShape", "input_format": "NCTHW"},
    ]
    frames = {"ann_file": "list.txt", "data_prefix": "frames", "filename_tmpl": "img_{:04}.jpg", "pipeline": steps}
    older["data"]["train"] = {"type": "AudioVisualDataset", "audio_prefix": "sound", **frames}
    imported = convert_config(older, catalog)
    assert imported.problems == ()
    train = imported.task["data"]["train"]
    inner = {"type": "RawframeDataset", "ann_file": "list.txt", "data_root": "frames"}
    assert train["dataset"] == {
        "type": "AudioVisualDataset",
        "audio_root": "sound",
        "dataset": {**inner, "filename_tmpl": "img_{:04}.jpg"},
    }
    assert list(train["pipeline"]) == ["sample", "decode", "load", "format"]
    Task.from_table(imported.task, catalog)
    older["data"]["train"]["zzz"] = 1
    (problem,) = convert_config(older, catalog).problems
    assert problem.startswith("data.train.zzz: RawframeDataset of vidcore has no argument 'zzz'")


def test_tags_of_hvu(catalog: Catalog, older: dict[str, Any]) -> None:
    """Like the published configuration of 0.x for all categories."""
    categories = {"action": 739, "attribute": 117, "concept": 291, "event": 69, "object": 1678, "scene": 248}
    older["model"]["cls_head"] |= {
        "num_classes": sum(categories.values()),
        "multi_class": True,
        "label_smooth_eps": 0,
        "loss_cls": {
            "type": "HVULoss",
            "categories": list(categories),
            "category_nums": list(categories.values()),
            "category_loss_weights": [1] * 6,
            "loss_type": "individual",
            "with_mask": True,
        },
    }
    for part in ("train", "val", "test"):
        steps = older["data"][part]["pipeline"]
        place = next(i for i, step in enumerate(steps) if step["type"] == "Collect")
        steps.insert(place, {"type": "LoadHVULabel"})
        older["data"][part] |= {
            "type": "HVUDataset",
            "tag_categories": list(categories),
            "tag_category_nums": list(categories.values()),
            "filename_tmpl": None,
        }
    older["evaluation"] = {"interval": 2, "metrics": ["mean_average_precision"]}
    imported = convert_config(older, catalog)
    assert imported.problems == ()
    task = imported.task
    assert task["metrics"] == {"hvu": {"type": "HVUMetric"}}
    assert task["data"]["train"]["dataset"] == {
        "type": "HVUDataset",
        "ann_file": "data/k400/train.txt",
        "data_root": "data/k400/videos_train",
        "tag_categories": list(categories),
        "tag_category_nums": list(categories.values()),
    }
    assert task["model"]["cls_head"]["loss_cls"]["type"] == "HVULoss"
    Task.from_table(task, catalog)
    older["evaluation"]["metrics"] = ["top_k_accuracy"]
    (first, *_) = convert_config(older, catalog).problems
    assert first == "evaluation.metrics: must be mean_average_precision, found ['top_k_accuracy']"
