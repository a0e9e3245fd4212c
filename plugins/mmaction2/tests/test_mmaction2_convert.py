"""Published tables become Task tables; what has no equivalent is reported with its place."""

from __future__ import annotations

import copy
import json
import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from vid_mmaction2.command import import_
from vid_mmaction2.config import Imported, convert_config
from vid_mmaction2.models import convert_model
from vid_mmaction2.reader import read_config
from vidcore.cli import Context
from vidcore.config.bind import build_component
from vidcore.config.toml import dumps
from vidcore.errors import ConfigError
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.task.task import Task

SHARED = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[4] / "shared"))


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return load_plugins()


def pipeline(*crop: dict[str, Any], test: bool = False) -> list[dict[str, Any]]:
    return [
        {"type": "DecordInit", "io_backend": "disk", "num_threads": 2},
        {"type": "SampleFrames", "clip_len": 8, "frame_interval": 8, "num_clips": 1, "test_mode": test},
        {"type": "mmaction.DecordDecode"},
        {"type": "Resize", "scale": [-1, 256], "lazy": True},
        *crop,
        {"type": "Resize", "scale": [224, 224], "keep_ratio": False},
        {"type": "FormatShape", "input_format": "NCTHW"},
        {"type": "PackActionInputs"},
    ]


def loader(part: str, **more: Any) -> dict[str, Any]:
    return {
        "batch_size": 8,
        "num_workers": 4,
        "persistent_workers": True,
        "sampler": {"type": "DefaultSampler", "shuffle": part == "train"},
        "dataset": {
            "type": "VideoDataset",
            "ann_file": f"{part}.txt",
            "data_root": "data/k400",
            "data_prefix": {"video": f"videos_{part}"},
            "pipeline": pipeline({"type": "CenterCrop", "crop_size": 224}, test=part != "train"),
            "test_mode": part != "train",
        },
        **more,
    }


CONFIG: dict[str, Any] = {
    "default_scope": "mmaction",
    "custom_variable": 3,
    "model": {
        "type": "Recognizer3D",
        "backbone": {
            "type": "ResNet3dSlowOnly",
            "depth": 50,
            "pretrained": "torchvision://resnet50",
            "lateral": False,
            "norm_cfg": {"type": "BN3d", "requires_grad": True},
            "conv_cfg": {"type": "Conv3d"},
            "act_cfg": {"type": "ReLU", "inplace": True},
            "init_cfg": None,
        },
        "cls_head": {"type": "I3DHead", "in_channels": 2048, "num_classes": 400, "spatial_type": None},
        "data_preprocessor": {
            "type": "ActionDataPreprocessor",
            "mean": [1.5, 2, 3],
            "std": [4, 5, 6],
            "format_shape": "NCTHW",
            "blending": {
                "type": "RandomBatchAugment",
                "augments": [
                    {"type": "MixupBlending", "alpha": 0.8, "num_classes": 400},
                    {"type": "CutmixBlending", "alpha": 1, "num_classes": 400},
                ],
            },
        },
        "train_cfg": None,
        "test_cfg": {"max_testing_views": 10},
    },
    "train_dataloader": loader("train", drop_last=True),
    "val_dataloader": loader("val"),
    "test_dataloader": loader("val", batch_size=1),
    "val_evaluator": {"type": "AccMetric", "metric_options": {"top_k_accuracy": {"topk": [1, 3]}}},
    "test_evaluator": {"type": "AccMetric", "metric_options": {"top_k_accuracy": {"topk": [1, 3]}}},
    "train_cfg": {"type": "EpochBasedTrainLoop", "max_epochs": 30, "val_begin": 1, "val_interval": 5},
    "val_cfg": {"type": "ValLoop"},
    "optim_wrapper": {
        "type": "AmpOptimWrapper",
        "optimizer": {"type": "AdamW", "lr": 1e-3, "betas": [0.9, 0.999], "weight_decay": 0.05},
        "paramwise_cfg": {"norm_decay_mult": 0.0, "custom_keys": {"backbone": {"lr_mult": 0.1}}},
        "clip_grad": {"max_norm": 40, "norm_type": 2},
        "accumulative_counts": 4,
    },
    "param_scheduler": [
        {"type": "LinearLR", "start_factor": 0.1, "by_epoch": True, "end": 5, "convert_to_iter_based": True},
        {"type": "CosineAnnealingLR", "T_max": 25, "eta_min": 0, "begin": 5, "end": 30},
    ],
    "default_hooks": {
        "runtime_info": {"type": "RuntimeInfoHook"},
        "checkpoint": {"type": "CheckpointHook", "interval": 2, "max_keep_ckpts": -1, "save_best": "auto"},
        "logger": {"type": "LoggerHook", "interval": 50},
    },
    "randomness": {"seed": 7, "deterministic": True},
    "auto_scale_lr": {"enable": False, "base_batch_size": 64},
}


def converted(catalog: Catalog, **changes: Any) -> Imported:
    return convert_config({**copy.deepcopy(CONFIG), **changes}, catalog)


def test_a_whole_configuration_becomes_a_task(catalog: Catalog) -> None:
    imported = converted(catalog)
    assert imported.problems == ()
    task = imported.task
    assert task["model"] == {
        "type": "Recognizer3D",
        "backbone": {"type": "ResNet3dSlowOnly", "depth": 50},
        "cls_head": {
            "type": "I3DHead",
            "in_channels": 2048,
            "num_classes": 400,
            "spatial_type": "none",
            "average_clips": "none",
        },
        "data_preprocessor": CONFIG["model"]["data_preprocessor"],
        "max_testing_views": 10,
    }
    train = task["data"]["train"]
    assert list(train["pipeline"]) == ["open", "sample", "decode", "resize", "crop", "resize_2", "format"]
    assert train["pipeline"]["open"] == {"type": "OpenVideo", "threads": 2}
    assert train["pipeline"]["decode"] == {"type": "Decode"}
    assert train["pipeline"]["resize"] == {"type": "Resize", "scale": [-1, 256]}
    assert train["dataset"] == {
        "type": "VideoDataset",
        "ann_file": "data/k400/train.txt",
        "data_root": "data/k400/videos_train",
    }
    assert {k: v for k, v in train.items() if k not in ("dataset", "pipeline")} == {
        "batch_size": 8,
        "workers": 4,
        "drop_last": True,
    }
    assert task["train"] == {
        "epochs": 30,
        "val_interval": 5,
        "accumulate": 4,
        "clip_norm": 40,
        "checkpoint_interval": 2,
        "keep": 0,
        "log_interval": 50,
        "weights": "resnet50-0676ba61.pth",
    }
    assert task["optimizer"] == CONFIG["optim_wrapper"]["optimizer"]
    assert task["param_groups"] == {
        "type": "DefaultGroups",
        "norm_decay_mult": 0.0,
        "custom_keys": {"backbone": {"lr_mult": 0.1}},
    }
    assert list(task["schedule"]) == ["warmup", "cosine"]
    assert task["metrics"] == {"acc": {"type": "AccMetric", "topk": [1, 3]}}
    assert task["runtime"] == {"precision": "fp16", "seed": 7, "deterministic": True}
    assert task["info"] == {"base_batch_size": 64}
    Task.from_table(task, catalog)
    assert tomllib.loads(dumps(task)) == task


def test_a_repeated_dataset(catalog: Catalog) -> None:
    loader = copy.deepcopy(CONFIG["train_dataloader"])
    once = converted(catalog).task["data"]["train"]
    loader["dataset"] = {"type": "RepeatDataset", "times": 3, "dataset": loader["dataset"]}
    imported = converted(catalog, train_dataloader=loader)
    assert imported.problems == ()
    train = imported.task["data"]["train"]
    assert train["dataset"] == {"type": "RepeatDataset", "times": 3, "dataset": once["dataset"]}
    assert train["pipeline"] == once["pipeline"]


def test_prefixes_and_class_names_of_a_dataset(catalog: Catalog) -> None:
    train = loader("train")
    train["dataset"]["data_prefix"] = {"video": "clips", "img": "frames"}  # merged from two base files
    train["dataset"]["metainfo"] = {"classes": ("run", "jump")}
    videos = converted(catalog, train_dataloader=train)
    train["dataset"]["type"] = "RawframeDataset"
    frames = converted(catalog, train_dataloader=train)
    assert (videos.problems, frames.problems) == ((), ())
    assert videos.task["data"]["train"]["dataset"]["data_root"] == "data/k400/clips"
    assert frames.task["data"]["train"]["dataset"]["data_root"] == "data/k400/frames"
    assert frames.task["data"]["train"]["dataset"]["classes"] == ["run", "jump"]
    Task.from_table(frames.task, catalog)
    train["dataset"]["data_prefix"] = {"audio": "a", "video": "b"}
    assert "must be a single prefix, found audio, video" in converted(catalog, train_dataloader=train).problems[0]


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


def test_schedules_of_the_momentum(catalog: Catalog) -> None:
    schedules = [
        {"type": "LinearLR", "start_factor": 0.1, "end": 5},
        {"type": "LinearMomentum", "start_factor": 0.9, "end": 5},
        {"type": "mmengine.CosineAnnealingParamScheduler", "param_name": "momentum", "eta_min": 0.8, "begin": 5},
        {"type": "StepParamScheduler", "param_name": "lr", "step_size": 3},
    ]
    imported = converted(catalog, param_scheduler=schedules)
    assert imported.problems == ()
    assert imported.task["schedule"] == {
        "warmup": schedules[0],
        "warmup_momentum": {"type": "LinearLR", "start_factor": 0.9, "end": 5, "param": "momentum"},
        "cosine_momentum": {"type": "CosineAnnealingLR", "eta_min": 0.8, "begin": 5, "param": "momentum"},
        "step": {"type": "StepLR", "step_size": 3},
    }
    Task.from_table(imported.task, catalog)


def test_options_of_distributed_training(catalog: Catalog) -> None:
    model = copy.deepcopy(CONFIG["model"])
    model["backbone"]["norm_cfg"] = {"type": "SyncBN", "requires_grad": True}
    wrapper = {"type": "MMDistributedDataParallel", "static_graph": True}
    imported = converted(catalog, model=model, model_wrapper_cfg=wrapper, compile=True)
    assert imported.problems == ()
    names = ("sync_batchnorm", "find_unused_parameters", "compile")
    assert [imported.task["runtime"].get(name) for name in names] == [True] * 3
    assert not any(name in converted(catalog).task["runtime"] for name in names)
    assert converted(catalog, sync_bn="torch").task["runtime"]["sync_batchnorm"]
    Task.from_table(imported.task, catalog)


def test_a_preprocessor_next_to_the_model(catalog: Catalog) -> None:
    model = copy.deepcopy(CONFIG["model"])
    own = model.pop("data_preprocessor")
    beside = converted(catalog, model=model, data_preprocessor=own)
    assert beside.problems == ()
    assert beside.task["model"] == converted(catalog).task["model"]
    other = {"type": "ActionDataPreprocessor", "mean": [0], "std": [1]}
    assert converted(catalog, data_preprocessor=other).task == converted(catalog).task


@pytest.mark.parametrize(
    ("loop", "hook", "wanted"),
    [
        ({"max_epochs": 9}, {"interval": 500, "by_epoch": False}, {"epochs": 9, "checkpoint_steps": 500}),
        ({"max_epochs": 9}, {"interval": -1}, {"epochs": 9, "checkpoint_interval": 9}),
        (
            {"by_epoch": False, "max_iters": 9000},
            {"interval": 500, "by_epoch": False},
            {"steps": 9000, "val_interval": 1000, "checkpoint_interval": 500},
        ),
        (
            {"type": "IterBasedTrainLoop", "max_iters": 9000, "val_interval": 300},
            {"interval": 1},
            {"steps": 9000, "val_interval": 300, "checkpoint_interval": 9000},
        ),
    ],
)
def test_intervals_keep_their_unit(
    catalog: Catalog, loop: dict[str, Any], hook: dict[str, Any], wanted: dict[str, int]
) -> None:
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}}
    imported = converted(catalog, train_cfg=loop, default_hooks={"checkpoint": hook}, optim_wrapper=wrapper)
    assert imported.problems == ()
    train = imported.task["train"]
    del train["weights"], train["keep"]
    assert train == wanted
    Task.from_table(imported.task, catalog)


def test_a_scaled_learning_rate(catalog: Catalog) -> None:
    task = converted(catalog, auto_scale_lr={"enable": True, "base_batch_size": 64}).task
    assert task["train"]["base_batch_size"] == 64
    assert "info" not in task


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("model.backbone.type", "ResNet9d", "model.backbone.type: no installed plugin offers a component"),
        ("model.backbone.depht", 50, "model.backbone.depht: ResNet3dSlowOnly of vidcore has no argument 'depht'; did"),
        ("model.backbone.norm_cfg", {"type": "GN"}, "model.backbone.norm_cfg: only default batch norm"),
        ("model.backbone.norm_cfg", {"type": "BN3d", "requires_grad": False}, "this component cannot be frozen"),
        (
            "model.backbone.conv_cfg",
            {"type": "Conv2plus1d"},
            "only ordinary convolutions can be converted, found Conv2p",
        ),
        ("model.backbone.act_cfg", {"type": "Swish"}, "model.backbone.act_cfg: only ReLU"),
        ("model.backbone.lateral", True, "model.backbone.lateral: only the slow pathway"),
        ("model.backbone.pretrained", "mmcls://x", "model.backbone.pretrained: is not converted; set train.weights"),
        ("model.cls_head.consensus", {"type": "TRN"}, "model.cls_head.consensus: only the mean over segments"),
        ("model.test_cfg", {"feature_extraction": True}, "model.test_cfg.feature_extraction: has no equivalent"),
        ("model.neck", {"type": "TPM"}, "TPM"),
        ("train_dataloader.sampler.type", "ClassAware", "train_dataloader.sampler: ClassAware has no equivalent"),
        ("train_dataloader.collate_fn", {"type": "pad_collate"}, "collate_fn: pad_collate has no"),
        ("train_dataloader.dataset.type", "MyData", "train_dataloader.dataset.type: no installed plugin"),
        (
            "train_dataloader.dataset.sample_by",
            3,
            "train_dataloader.dataset.sample_by: VideoDataset of vidcore has no argument",
        ),
        (
            "train_dataloader.dataset.pipeline",
            [{"type": "ImgAug"}],
            "train_dataloader.dataset.pipeline[0].type: no inst",
        ),
        (
            "train_dataloader.dataset.pipeline",
            [{"type": "TorchVisionWrapper", "op": "RandomGrayscale"}],
            "train_dataloader.dataset.pipeline[0].type: no installed plugin offers a component named 'TorchVisionW",
        ),
        ("train_cfg", {"type": "MyLoop", "max_epochs": 1}, "train_cfg.type: MyLoop has no equivalent"),
        ("default_hooks.checkpoint.save_best", [3], "default_hooks.checkpoint.save_best: must be the name of a score"),
        ("optim_wrapper.constructor", "Mine", "optim_wrapper.constructor: Mine has no equivalent"),
        (
            "param_scheduler",
            [{"type": "LinearParamScheduler", "param_name": "weight_decay"}],
            "param_scheduler[0].param_name: must be lr or momentum, found weight_decay",
        ),
        ("param_scheduler", [{"type": "CosineMomentum"}], "param_scheduler[0].type: no installed plugin"),
        ("custom_hooks", [{"type": "MyHook"}], "custom_hooks[0]: MyHook has no equivalent"),
        ("custom_hooks", [{"type": "EMAHook"}], "custom_hooks[0]: EMAHook is not converted; set train.ema_decay"),
        ("custom_hooks", {"type": "EMAHook"}, "custom_hooks: must be a list of tables"),
        ("custom_hooks", ["EMAHook"], "custom_hooks: must be a list of tables"),
        ("randomness", 7, "randomness: must be a table"),
        ("val_cfg", "ValLoop", "val_cfg: must be a table"),
        ("default_hooks.extra", {"type": "X"}, "default_hooks.extra: X has no equivalent"),
        ("load_from", {"a": 1}, "load_from: must be a string, found dict"),
        ("auto_scale_lr", 8, "auto_scale_lr: must be a table"),
        ("train_dataloader.dataset.ann_file", None, "train_dataloader.dataset.ann_file: must be a string, found None"),
        ("train_dataloader.dataset.ann_file", 3, "train_dataloader.dataset.ann_file: must be a string, found int"),
        ("train_dataloader.sampler", 3, "train_dataloader.sampler: must be a table, found int"),
        ("train_dataloader.batch_sampler", {"type": "X"}, "train_dataloader.batch_sampler: has no equivalent here"),
        ("default_hooks.checkpoint.interval", "x", "default_hooks.checkpoint.interval: must be an integer, found 'x'"),
        ("default_hooks.timer", 3, "default_hooks.timer: must be a table, found int"),
        ("default_hooks.timer", {"type": "MyTimer"}, "default_hooks.timer: MyTimer has no equivalent here"),
        ("optim_wrapper.clip_grad", [1], "optim_wrapper.clip_grad: must be a table, found list"),
        ("visualizer", "x", "visualizer: must be a table"),
        ("model.test_cfg", 3, "model.test_cfg: must be a table, found int"),
        ("test_evaluator", {"type": "MyMetric"}, "test_evaluator.type: no installed plugin offers"),
        ("val_cfg.type", "MyValLoop", "val_cfg.type: MyValLoop has no equivalent"),
        ("lr_config", {"policy": "step"}, "lr_config: cannot be converted: it belongs to MMAction2 0.x"),
        ("compile", {"mode": "max-autotune"}, "compile: must be true or false"),
        ("model_wrapper_cfg", {"type": "MMFullyShardedDataParallel"}, "model_wrapper_cfg.type: MMFullySharded"),
        ("optim_wrapper.dtype", "float64", "optim_wrapper.dtype: must be float16 or bfloat16, found float64"),
        (
            "param_scheduler",
            [{"type": "LinearLR", "by_epoch": False, "end": 500}],
            "optim_wrapper.accumulative_counts: iterations are batches there and steps here; divide",
        ),
    ],
)
def test_what_cannot_be_converted_is_reported(catalog: Catalog, path: str, value: Any, problem: str) -> None:
    config = copy.deepcopy(CONFIG)
    *above, last = path.split(".")
    at = config
    for key in above:
        at = at.setdefault(key, {})
    at[last] = value
    problems = convert_config(config, catalog).problems
    assert len(problems) == 1
    assert problem in problems[0]


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything within a value."""
    inner = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    return [(*at, key) for key, _ in inner] + [path for key, v in inner for path in _places(v, (*at, key))]


@pytest.mark.parametrize("wrong", [None, 3, "x", [], [3], {}, {"type": 3}, {"type": "X"}, [["a"]]], ids=repr)
def test_values_of_any_type_in_any_place_raise_no_exception(catalog: Catalog, wrong: Any) -> None:
    for *above, last in _places(CONFIG):
        config = at = copy.deepcopy(CONFIG)
        for key in above:
            at = at[key]
        at[last] = wrong
        assert _is_toml(convert_config(config, catalog).task)


def _is_toml(value: Any) -> bool:
    """Whether TOML can represent a value; ``dumps`` takes much longer to tell."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_toml(v) for key, v in value.items())
    return all(map(_is_toml, value)) if isinstance(value, list) else isinstance(value, str | int | float)


def test_many_components_end_the_conversion(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match=r"param_scheduler\[\d+\]: a configuration may have at most 1000 components"):
        converted(catalog, param_scheduler=[{"type": "StepLR", "step_size": 3}] * 10_000)


def test_many_problems_end_the_conversion(catalog: Catalog) -> None:
    with pytest.raises(ConfigError, match="more problems follow"):
        converted(catalog, custom_hooks=[{"type": "X"}] * 10_000)


@pytest.mark.parametrize("kind", [{}, {"type": "Evaluator"}])
def test_an_evaluator_lists_its_metrics(catalog: Catalog, kind: dict[str, Any]) -> None:
    metrics = [{"type": "AccMetric"}, {"type": "ConfusionMatrix", "num_classes": 400}]
    imported = converted(catalog, val_evaluator={**kind, "metrics": metrics}, test_evaluator=metrics)
    assert imported.problems == ()
    assert imported.task["metrics"] == {"acc": metrics[0], "confusion": metrics[1]}
    one = converted(catalog, val_evaluator={**kind, "metrics": metrics[0]}, test_evaluator=None)
    assert one.task["metrics"] == {"acc": metrics[0]}


def test_early_stopping_is_a_setting(catalog: Catalog) -> None:
    hook = {"type": "EarlyStoppingHook", "monitor": "acc/top1", "rule": "greater", "patience": 3, "min_delta": 0.01}
    imported = converted(catalog, custom_hooks=[hook])
    assert imported.problems == ()
    assert imported.notes == ("custom_hooks[0].min_delta: any improvement counts, not only 0.01 or more",)
    train = imported.task["train"]
    assert (train["early_stop"], train["best"], train["best_rule"]) == (3, "acc/top1", "greater")
    Task.from_table(imported.task, catalog)
    hooks = {"checkpoint": {"save_best": "acc/top5"}}
    (problem,) = converted(catalog, custom_hooks=[hook], default_hooks=hooks).problems
    assert problem == "custom_hooks[0].monitor: must be that of train.best, acc/top5, found acc/top1"


def test_precise_batch_norm_and_dumped_results(catalog: Catalog) -> None:
    hooks = [{"type": "PreciseBNHook", "num_iters": 50}, {"type": "PreciseBNHook"}]
    assert [converted(catalog, custom_hooks=[hook]).task["train"]["precise_bn"] for hook in hooks] == [50, 200]
    results = {"type": "DumpResults", "out_file_path": "out/scores.pkl"}
    imported = converted(catalog, custom_hooks=hooks[:1], test_evaluator=[{"type": "AccMetric"}, results])
    assert imported.task["metrics"]["dump_predictions"] == {"type": "DumpPredictions", "file": "scores.npz"}
    assert "test_evaluator[1]: predictions are written to an .npz file" in imported.notes[0]
    assert imported.problems == ()
    assert list(imported.task["data"]["val"]["metrics"]) == ["acc"]
    Task.from_table(imported.task, catalog)


def test_evaluation_clipping_and_speed(catalog: Catalog) -> None:
    loop = {"max_epochs": 9, "val_begin": 3}
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1, "norm_type": "inf"}}
    hooks = {"checkpoint": {"save_best": ["acc/top1", "acc/top5"]}}
    changes = {"train_cfg": loop, "optim_wrapper": wrapper, "default_hooks": hooks, "randomness": {"seed": 7}}
    imported = converted(catalog, **changes, env_cfg={"cudnn_benchmark": True})
    assert imported.problems == imported.left_out == ()
    train = imported.task["train"]
    assert (train["val_begin"], train["clip_norm_type"], train["best"]) == (3, "inf", ["acc/top1", "acc/top5"])
    assert imported.task["runtime"]["cudnn_benchmark"] is True
    Task.from_table(imported.task, catalog)


def test_back_ends_of_visualisation_are_observers(catalog: Catalog) -> None:
    backends = [
        {"type": "LocalVisBackend"},
        {"type": "TensorboardVisBackend"},
        {"type": "WandbVisBackend", "init_kwargs": {"project": "p", "entity": "me"}},
        {"type": "MLflowVisBackend"},
    ]
    imported = converted(catalog, visualizer={"type": "ActionVisualizer", "vis_backends": backends})
    assert imported.problems == ()
    assert imported.task["observers"] == {
        "tensorboard": {"type": "TensorBoard"},
        "wandb": {"type": "WandB", "project": "p"},
    }
    assert imported.left_out == (
        "visualizer.vis_backends[2].init_kwargs.entity: me: has no equivalent here",
        "visualizer.vis_backends[3]: MLflowVisBackend: is not an observer of vidcore",
    )


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("resume", True, "resume: True: use vidcore run --resume"),
        ("custom_imports", {"imports": ["mine"]}, "custom_imports: {'imports': ['mine']}: turn custom code"),
        ("work_dir", "./runs/a", "work_dir: ./runs/a: use vidcore run --dir"),
        ("launcher", "slurm", "launcher: slurm: start processes with torchrun"),
        ("env_cfg", {"cudnn_benchmark": True}, "env_cfg.cudnn_benchmark: True: randomness.deterministic forbids it"),
        ("env_cfg", {"mp_cfg": {"mp_start_method": "spawn"}}, "env_cfg.mp_cfg.mp_start_method: spawn: "),
        ("log_processor", {"custom_cfg": [{"data_src": "x"}]}, "log_processor.custom_cfg: [{'data_src': 'x'}]: "),
        ("randomness.diff_rank_seed", True, "randomness.diff_rank_seed: True: "),
        ("default_hooks.visualization", {"type": "VisualizationHook", "enable": True}, "default_hooks.visualization: "),
        ("custom_hooks", [{"type": "EmptyCacheHook"}], "custom_hooks[0]: EmptyCacheHook: "),
        ("default_hooks.checkpoint.out_dir", "x", "default_hooks.checkpoint.out_dir: x: "),
        ("default_hooks.logger.out_suffix", ".log", "default_hooks.logger.out_suffix: .log: "),
        ("optim_wrapper.loss_scale", 512.0, "optim_wrapper.loss_scale: 512.0: "),
        ("model_wrapper_cfg", {"broadcast_buffers": True}, "model_wrapper_cfg.broadcast_buffers: True: "),
        ("model.backbone.init_cfg", {"type": "Kaiming"}, "model.backbone.init_cfg: {'type': 'Kaiming'}: "),
        ("train_dataloader.sampler.round_up", True, "train_dataloader.sampler.round_up: True: "),
        ("train_dataloader.dataset.max_refetch", 9, "train_dataloader.dataset.max_refetch: 9: "),
        ("train_dataloader.dataset.metainfo", {"palette": [1]}, "train_dataloader.dataset.metainfo.palette: [1]: "),
        (
            "train_dataloader.dataset.pipeline",
            [{"type": "DecordInit", "io_backend": "petrel"}],
            "train_dataloader.dataset.pipeline[0].io_backend: petrel: files are read from local folders",
        ),
        ("param_scheduler", [{"type": "StepLR", "step_size": 3, "last_step": 7}], "param_scheduler[0].last_step: 7: "),
    ],
)
def test_settings_without_effect_are_listed(catalog: Catalog, path: str, value: Any, place: str) -> None:
    config = copy.deepcopy(CONFIG)
    *above, last = path.split(".")
    at = config
    for key in above:
        at = at.setdefault(key, {})
    at[last] = value
    imported = convert_config(config, catalog)
    assert imported.problems == ()
    (line,) = imported.left_out
    assert line.startswith(place)


def test_balanced_classes_are_the_loaders(catalog: Catalog) -> None:
    dataset = {"type": "ClassBalancedDataset", "oversample_thr": 1e-3, "dataset": loader("train")["dataset"]}
    imported = converted(catalog, train_dataloader=loader("train", dataset=dataset))
    assert imported.problems == ()
    assert imported.notes[0].startswith(
        "train_dataloader.dataset: ClassBalancedDataset (oversample_thr=0.001) is balanced"
    )
    train = imported.task["data"]["train"]
    assert (train["balanced"], train["balance_power"], train["dataset"]["type"]) == (True, 0.5, "VideoDataset")
    Task.from_table(imported.task, catalog)


def test_weights_of_the_whole_network_replace_those_of_its_backbone(catalog: Catalog) -> None:
    imported = converted(catalog, load_from="https://somewhere/slowonly_20220901-f6a40d08.pth")
    assert imported.task["train"]["weights"] == "slowonly_20220901-f6a40d08.pth"


@pytest.mark.parametrize(
    ("step", "name", "wanted"),
    [
        ({"type": "PIMSInit"}, "open_2", {"type": "OpenVideo"}),
        ({"type": "ImageDecode"}, "decode_2", {"type": "Decode"}),
        ({"type": "PyAVDecodeMotionVector"}, "decode_2", {"type": "DecodeMotionVectors"}),
        (
            {"type": "PyAVDecodeMotionVector", "multi_thread": True},
            "decode_2",
            {"type": "DecodeMotionVectors", "threads": 0},
        ),
        (
            {"type": "PytorchVideoWrapper", "op": "RandAugment", "magnitude": 7, "num_layers": 4},
            "augment",
            {"type": "RandAugment", "magnitude": 7, "num_layers": 4},
        ),
        (
            {"type": "ImgAug", "transforms": "default"},
            "augment",
            {"type": "RandAugment", "magnitude": 9, "num_layers": 2, "prob": 1.0, "magnitude_std": 0.0},
        ),
        (
            {"type": "TorchVisionWrapper", "op": "ColorJitter", "hue": 0.1},
            "jitter",
            {"type": "ColorJitter", "brightness": 0, "contrast": 0, "saturation": 0, "hue": 0.1},
        ),
        (
            {"type": "TorchVisionWrapper", "op": "RandomHorizontalFlip", "p": 0.3},
            "flip",
            {"type": "Flip", "flip_ratio": 0.3},
        ),
        (
            {"type": "TorchVisionWrapper", "op": "CenterCrop", "size": 96},
            "crop_2",
            {"type": "CenterCrop", "crop_size": 96},
        ),
        ({"type": "TorchVisionWrapper", "op": "RandomCrop", "size": 96}, "crop_2", {"type": "RandomCrop", "size": 96}),
        (
            {"type": "PackActionInputs", "collect_keys": ["imgs", "heatmap_imgs"]},
            "pack_action_inputs",
            {"type": "PackActionInputs", "collect_keys": ["imgs", "heatmap_imgs"]},
        ),
    ],
)
def test_steps_with_different_names_here(
    catalog: Catalog, step: dict[str, Any], name: str, wanted: dict[str, Any]
) -> None:
    train = loader("train")
    train["dataset"]["pipeline"].append(step)
    imported = converted(catalog, train_dataloader=train)
    assert imported.problems == ()
    assert imported.task["data"]["train"]["pipeline"][name] == wanted
    Task.from_table(imported.task, catalog)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "DecordDecode", "mode": "efficient"},
        {"type": "PIMSInit", "mode": "efficient"},
        {"type": "LoadRGBFromFile", "color_type": "grayscale"},
    ],
)
def test_decoding_that_changes_frames_is_reported(catalog: Catalog, step: dict[str, Any]) -> None:
    train = loader("train")
    train["dataset"]["pipeline"].append(step)
    (problem,) = converted(catalog, train_dataloader=train).problems
    assert re.search(r"pipeline\[\d+\]\.(mode|color_type): '(efficient|grayscale)' has no equivalent", problem)


def test_repeated_augmentation_becomes_an_option_of_the_loader(catalog: Catalog) -> None:
    dataset = {**loader("train")["dataset"], "type": "RepeatAugDataset", "num_repeats": 2}
    repeated = loader("train", dataset=dataset, collate_fn={"type": "repeat_pseudo_collate"})
    imported = converted(catalog, train_dataloader=repeated)
    assert imported.problems == ()
    train = imported.task["data"]["train"]
    assert (train["num_repeats"], train["sample_once"], train["dataset"]["type"]) == (2, False, "VideoDataset")
    Task.from_table(imported.task, catalog)


def test_concatenated_datasets_share_a_pipeline_or_have_their_own(catalog: Catalog) -> None:
    parts = [loader("train")["dataset"], loader("val")["dataset"]]
    one = converted(
        catalog, train_dataloader=loader("train", dataset={"type": "ConcatDataset", "datasets": parts[:1] * 2})
    )
    assert one.problems == ()
    train = one.task["data"]["train"]
    assert [d["ann_file"] for d in train["dataset"]["datasets"]] == ["data/k400/train.txt"] * 2
    assert "sample" in train["pipeline"]
    two = converted(catalog, train_dataloader=loader("train", dataset={"type": "ConcatDataset", "datasets": parts}))
    assert two.problems == ()
    (step,) = two.task["data"]["train"]["pipeline"].values()
    assert [list(steps) for steps in step["pipelines"]] == [list(train["pipeline"])] * 2
    assert [steps["sample"]["test_mode"] for steps in step["pipelines"]] == [False, True]
    Task.from_table(two.task, catalog)


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


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(import_, arguments, obj=Context(), catch_exceptions=True)
    message = str(result.exception) if result.exception else result.stderr
    return result.exit_code, result.stdout, message


def test_the_command_writes_a_valid_task(tmp_path: Path, catalog: Catalog) -> None:
    source, output = tmp_path / "c.json", tmp_path / "task.toml"
    source.write_text(json.dumps(CONFIG))
    assert run(str(source), "-o", str(output))[0] == 0
    assert Task.load(output, catalog).table["optimizer"]["type"] == "AdamW"
    code, out, _ = run(str(source))
    assert code == 0
    assert out == output.read_text()


def test_the_command_reports_skipped_statements(tmp_path: Path) -> None:
    source = tmp_path / "c.py"
    assignments = "".join(f"{key} = {value!r}\n" for key, value in CONFIG.items())
    source.write_text(f"import os\nos.environ['A'] = 'b'\n{assignments}")
    result = CliRunner().invoke(import_, [str(source)], obj=Context())
    assert result.exit_code == 0
    assert result.stderr == f"left out: {source}:2: os.environ['A'] = 'b'\n"
    source.write_text(f"resume = True\n{assignments}")
    assert CliRunner().invoke(import_, [str(source)], obj=Context()).stderr == (
        f"left out: {source}: resume: True: use vidcore run --resume\n"
    )


def test_the_command_names_the_file_of_a_task_that_is_not_valid(tmp_path: Path) -> None:
    source = tmp_path / "c.json"
    source.write_text(json.dumps(CONFIG | {"train_cfg": {"max_epochs": "many"}}))
    _, _, message = run(str(source))
    assert message == f"{source}: the Task made from it: train.epochs: must be an integer, got 'many'"


def test_the_command_refuses_or_writes_a_part(tmp_path: Path) -> None:
    source, output = tmp_path / "c.json", tmp_path / "task.toml"
    source.write_text(json.dumps(CONFIG | {"custom_hooks": [{"type": "MyHook"}]}))
    code, _, message = run(str(source), "-o", str(output))
    assert code != 0
    assert f"{source}: custom_hooks[0]: MyHook has no equivalent here" in message
    assert not output.exists()
    code, _, message = run(str(source), "-o", str(output), "--partial")
    assert code == 0
    assert "left out" in message
    assert "optimizer" in tomllib.loads(output.read_text())


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
    converted = convert_model(table, catalog)
    assert converted == {"type": "DRN", "vocab_size": 7, "fpn_stride": [1, 2, 4], "stage": stage}


def _published() -> list[Path]:
    return sorted((SHARED / "parity" / "configs").rglob("*.json"))


@pytest.mark.parametrize("path", _published(), ids=lambda p: p.stem)
def test_every_published_configuration_converts_or_reports_why_not(path: Path, catalog: Catalog) -> None:
    imported = convert_config(read_config(path), catalog)
    assert all(re.match(r"[a-z_]+(\.\w+|\[\d+\])*: \S", problem) for problem in imported.problems)
    if not imported.problems:
        Task.from_table(imported.task, catalog)
    assert tomllib.loads(dumps(imported.task)) == imported.task
