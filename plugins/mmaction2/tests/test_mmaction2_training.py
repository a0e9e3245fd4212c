"""Loops, optimizers, schedules, hooks, evaluators and settings of the machine."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from vid_mmaction2.config import Imported
from vidcore.plugins.catalog import Catalog
from vidcore.task.task import Task

Converted = Callable[..., Imported]


def test_schedules_of_the_momentum(catalog: Catalog, converted: Converted) -> None:
    schedules = [
        {"type": "LinearLR", "start_factor": 0.1, "end": 5},
        {"type": "LinearMomentum", "start_factor": 0.9, "end": 5},
        {"type": "mmengine.CosineAnnealingParamScheduler", "param_name": "momentum", "eta_min": 0.8, "begin": 5},
        {"type": "StepParamScheduler", "param_name": "lr", "step_size": 3},
    ]
    imported = converted(param_scheduler=schedules)
    assert imported.problems == ()
    assert imported.task["schedule"] == {
        "warmup": schedules[0],
        "warmup_momentum": {"type": "LinearLR", "start_factor": 0.9, "end": 5, "param": "momentum"},
        "cosine_momentum": {"type": "CosineAnnealingLR", "eta_min": 0.8, "begin": 5, "param": "momentum"},
        "step": {"type": "StepLR", "step_size": 3},
    }
    Task.from_table(imported.task, catalog)


def test_options_of_distributed_training(catalog: Catalog, converted: Converted, published: dict[str, Any]) -> None:
    model = copy.deepcopy(published["model"])
    model["backbone"]["norm_cfg"] = {"type": "SyncBN", "requires_grad": True}
    wrapper = {"type": "MMDistributedDataParallel", "static_graph": True}
    imported = converted(model=model, model_wrapper_cfg=wrapper, compile=True)
    assert imported.problems == ()
    names = ("sync_batchnorm", "find_unused_parameters", "compile")
    assert [imported.task["runtime"].get(name) for name in names] == [True] * 3
    assert not any(name in converted().task["runtime"] for name in names)
    assert converted(sync_bn="torch").task["runtime"]["sync_batchnorm"]
    Task.from_table(imported.task, catalog)


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
    catalog: Catalog, loop: dict[str, Any], hook: dict[str, Any], wanted: dict[str, int], converted: Converted
) -> None:
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}}
    imported = converted(train_cfg=loop, default_hooks={"checkpoint": hook}, optim_wrapper=wrapper)
    assert imported.problems == ()
    train = imported.task["train"]
    del train["weights"], train["keep"]
    assert train == wanted
    Task.from_table(imported.task, catalog)


def test_a_scaled_learning_rate(converted: Converted) -> None:
    (note,) = converted().notes
    assert note.startswith("auto_scale_lr: the learning rate is for 64 samples per step and is not scaled")
    imported = converted(auto_scale_lr={"enable": True, "base_batch_size": 64})
    assert imported.notes == ()
    task = imported.task
    assert task["train"]["base_batch_size"] == 64
    assert "info" not in task


@pytest.mark.parametrize("kind", [{}, {"type": "Evaluator"}])
def test_an_evaluator_lists_its_metrics(kind: dict[str, Any], converted: Converted) -> None:
    metrics = [{"type": "AccMetric"}, {"type": "ConfusionMatrix", "num_classes": 400}]
    imported = converted(val_evaluator={**kind, "metrics": metrics}, test_evaluator=metrics)
    assert imported.problems == ()
    assert imported.task["metrics"] == {"acc": metrics[0], "confusion": metrics[1]}
    one = converted(val_evaluator={**kind, "metrics": metrics[0]}, test_evaluator=None)
    assert one.task["metrics"] == {"acc": metrics[0]}


def test_early_stopping_is_a_setting(catalog: Catalog, converted: Converted) -> None:
    hook = {"type": "EarlyStoppingHook", "monitor": "acc/top1", "rule": "greater", "patience": 3, "min_delta": 0.01}
    imported = converted(custom_hooks=[hook])
    assert imported.problems == ()
    assert imported.notes[0] == "custom_hooks[0].min_delta: any improvement counts, not only 0.01 or more"
    train = imported.task["train"]
    assert (train["early_stop"], train["best"], train["best_rule"]) == (3, "acc/top1", "greater")
    Task.from_table(imported.task, catalog)
    hooks = {"checkpoint": {"save_best": "acc/top5"}}
    (problem,) = converted(custom_hooks=[hook], default_hooks=hooks).problems
    assert problem == "custom_hooks[0].monitor: must be that of train.best, acc/top5, found acc/top1"


def test_an_average_of_the_weights(catalog: Catalog, converted: Converted) -> None:
    imported = converted(custom_hooks=[{"type": "EMAHook", "momentum": 0.125, "begin_iter": 0}])
    assert imported.problems == ()
    assert imported.task["train"]["ema_decay"] == 0.875
    assert "custom_hooks[0].update_buffers: batch-norm statistics are averaged, too" in imported.notes
    assert "custom_hooks[0].begin_iter: 0" in imported.implied
    Task.from_table(imported.task, catalog)
    assert converted(custom_hooks=[{"type": "EMAHook"}]).task["train"]["ema_decay"] == 1 - 0.0002


def test_a_schedule_that_waits_for_a_score(catalog: Catalog, converted: Converted) -> None:
    plateau = {"type": "ReduceOnPlateauLR", "monitor": "acc/top1", "rule": "greater", "patience": 3, "factor": 0.5}
    imported = converted(param_scheduler=[{**plateau, "min_value": 1e-5, "eps": 1e-8, "by_epoch": True}])
    assert imported.problems == ()
    assert imported.task["schedule"] == {"reduce_on_plateau": {**plateau, "eta_min": 1e-5}}
    assert "param_scheduler[0].eps: 1e-08: every reduction counts, however small" in imported.left_out
    Task.from_table(imported.task, catalog)


def test_precise_batch_norm_and_dumped_results(catalog: Catalog, converted: Converted) -> None:
    hooks = [{"type": "PreciseBNHook", "num_iters": 50}, {"type": "PreciseBNHook"}]
    assert [converted(custom_hooks=[hook]).task["train"]["precise_bn"] for hook in hooks] == [50, 200]
    results = {"type": "DumpResults", "out_file_path": "out/scores.pkl"}
    imported = converted(custom_hooks=hooks[:1], test_evaluator=[{"type": "AccMetric"}, results])
    assert imported.task["metrics"]["dump_predictions"] == {"type": "DumpPredictions", "file": "scores.npz"}
    assert "test_evaluator[1]: predictions are written to an .npz file" in imported.notes[0]
    assert imported.problems == ()
    assert list(imported.task["data"]["val"]["metrics"]) == ["acc"]
    Task.from_table(imported.task, catalog)


def test_evaluation_clipping_and_speed(catalog: Catalog, converted: Converted) -> None:
    loop = {"max_epochs": 9, "val_begin": 3}
    wrapper = {"optimizer": {"type": "SGD", "lr": 0.1}, "clip_grad": {"max_norm": 1, "norm_type": "inf"}}
    hooks = {"checkpoint": {"save_best": ["acc/top1", "acc/top5"]}}
    changes = {"train_cfg": loop, "optim_wrapper": wrapper, "default_hooks": hooks, "randomness": {"seed": 7}}
    imported = converted(**changes, env_cfg={"cudnn_benchmark": True})
    assert imported.problems == imported.left_out == ()
    train = imported.task["train"]
    assert (train["val_begin"], train["clip_norm_type"], train["best"]) == (3, "inf", ["acc/top1", "acc/top5"])
    assert imported.task["runtime"]["cudnn_benchmark"] is True
    Task.from_table(imported.task, catalog)


def test_back_ends_of_visualisation_are_observers(converted: Converted) -> None:
    backends = [
        {"type": "LocalVisBackend"},
        {"type": "TensorboardVisBackend"},
        {"type": "WandbVisBackend", "init_kwargs": {"project": "p", "entity": "me"}},
        {"type": "MLflowVisBackend"},
    ]
    imported = converted(visualizer={"type": "ActionVisualizer", "vis_backends": backends})
    assert imported.problems == ()
    assert imported.task["observers"] == {
        "tensorboard": {"type": "TensorBoard"},
        "wandb": {"type": "WandB", "project": "p"},
    }
    assert imported.left_out == (
        "visualizer.vis_backends[2].init_kwargs.entity: me: has no equivalent here",
        "visualizer.vis_backends[3]: MLflowVisBackend: is not an observer of vidcore",
    )


def test_weights_of_the_whole_network_replace_those_of_its_backbone(
    converted: Converted, published: dict[str, Any]
) -> None:
    imported = converted(load_from="https://somewhere/slowonly_20220901-f6a40d08.pth")
    assert imported.task["train"]["weights"] == "slowonly_20220901-f6a40d08.pth"
    assert imported.left_out[-1].startswith("model.backbone.pretrained: torchvision://resnet50: weights of the whole")
    init = {"type": "Pretrained", "checkpoint": "https://somewhere/a.pth"}
    assert converted(model={**published["model"], "init_cfg": init}).task["train"]["weights"] == "a.pth"


def test_weights_of_parts(catalog: Catalog, converted: Converted, published: dict[str, Any]) -> None:
    pathway = {"type": "resnet3d", "depth": 18, "pretrained": "https://x.org/slow.pth", "lateral": False}
    fast = {"type": "resnet3d", "depth": 18, "base_channels": 8, "pretrained": "torchvision://resnet18"}
    backbone = {"type": "ResNet3dSlowFast", "pretrained": None, "slow_pathway": pathway, "fast_pathway": fast}
    init = {"type": "Pretrained", "checkpoint": "head.pth", "prefix": "cls_head."}
    head = {"type": "SlowFastHead", "in_channels": 576, "num_classes": 400, "init_cfg": init}
    imported = converted(model={**published["model"], "backbone": backbone, "cls_head": head})
    assert imported.problems == ()
    assert imported.task["train"]["weights"] == {
        "backbone.slow_path": "slow.pth",
        "backbone.fast_path": "resnet18-f37072fd.pth",
        "cls_head": "head.pth",
    }
    Task.from_table(imported.task, catalog)
