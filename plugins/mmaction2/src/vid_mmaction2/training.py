"""Conversion of the training settings: loops, optimizer, schedules, hooks, evaluators."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import Converter, Rule, Table, drop_arguments, snake_case, strip_scope, without
from vid_mmaction2.pipelines import free_name

__all__ = ["RULES", "convert_metrics", "convert_optimizer", "convert_schedules", "convert_train", "file_name"]

SCHEDULE_NAMES = {"LinearLR": "warmup", "MultiStepLR": "step", "CosineAnnealingLR": "cosine"}
METRIC_NAMES = {"AccMetric": "acc", "ANetMetric": "anet", "ConfusionMatrix": "confusion", "RecallatTopK": "recall"}
GROUPINGS = {
    "TSMOptimWrapperConstructor": "TSMGroups",
    "SwinOptimWrapperConstructor": "SwinGroups",
    "LearningRateDecayOptimizerConstructor": "LayerDecayGroups",
}
IGNORED_HOOKS = {"runtime_info", "timer", "param_scheduler", "sampler_seed", "sync_buffers", "visualization"}
"""Hooks whose job is always done here."""
ADVICE = {
    "EMAHook": "is not converted; set train.ema_decay",
}
"""Hooks for which there is an option here, with slightly different results."""
PRECISIONS = {None: "fp16", "float16": "fp16", "bfloat16": "bf16"}


def convert_train(converter: Converter, config: Mapping[str, Any]) -> Table:
    """Convert loops, gradients and checkpoints to ``[train]``."""
    train: Table = {}
    _loop(converter, config.get("train_cfg") or {}, train)
    wrapper = config.get("optim_wrapper") or {}
    if (count := wrapper.get("accumulative_counts", 1)) != 1:
        train["accumulate"] = count
        schedules = config.get("param_scheduler") or []
        by_epoch = [s.get("by_epoch", True) for s in (schedules if isinstance(schedules, list) else [schedules])]
        if "steps" in train or not all(by_epoch):
            why = f"iterations are batches there and steps here; divide numbers of iterations by {count}"
            converter.report("optim_wrapper.accumulative_counts", why)
    clip = wrapper.get("clip_grad") or {}
    if "max_norm" in clip:
        train["clip_norm"] = clip["max_norm"]
        if clip.get("norm_type", 2) != 2:
            converter.report("optim_wrapper.clip_grad.norm_type", "must be 2; only the 2-norm can be limited")
    if "clip_value" in clip:
        train["clip_value"] = clip["clip_value"]
    hooks = config.get("default_hooks") or {}
    _checkpoint_options(converter, hooks.get("checkpoint"), train)
    if "interval" in (hooks.get("logger") or {}):
        train["log_interval"] = hooks["logger"]["interval"]
    others = {
        f"default_hooks.{k}": v for k, v in hooks.items() if k not in IGNORED_HOOKS | {"checkpoint", "logger"} and v
    }
    others |= {f"custom_hooks[{i}]": hook for i, hook in enumerate(config.get("custom_hooks") or [])}
    for at, hook in others.items():
        kind = strip_scope(str(hook.get("type", "this hook")))
        if kind == "EarlyStoppingHook":
            _early_stop(converter, hook, at, train)
            continue
        converter.report(at, f"{kind} {ADVICE.get(kind, 'has no equivalent here')}")
    return train


def _early_stop(converter: Converter, hook: Mapping[str, Any], at: str, train: Table) -> None:
    """Convert early stopping, which uses the score that selects the best weights, and counts any improvement."""
    train["early_stop"] = hook.get("patience", 5)
    for key, name in (("monitor", "best"), ("rule", "best_rule")):
        value = hook.get(key)
        if value is not None and train.setdefault(name, value) != value:
            converter.report(f"{at}.{key}", f"must be that of train.{name}, {train[name]}, found {value}")
    converter.notes.append(f"{at}.min_delta: any improvement counts, not only {hook.get('min_delta', 0.1)} or more")
    if hook.get("stopping_threshold") is not None:
        converter.notes.append(f"{at}.stopping_threshold: training does not stop at a score")


def _loop(converter: Converter, loop: Mapping[str, Any], train: Table) -> None:
    at = "train_cfg"
    kind = loop.get("type") or ("EpochBasedTrainLoop" if loop.get("by_epoch", True) else "IterBasedTrainLoop")
    lengths = {"EpochBasedTrainLoop": ("max_epochs", "epochs"), "IterBasedTrainLoop": ("max_iters", "steps")}
    if kind not in lengths and kind != "MultiLoaderEpochBasedTrainLoop":
        converter.report(f"{at}.type", f"{kind} has no equivalent here")
    old, new = lengths.get(kind, lengths["EpochBasedTrainLoop"])
    if old in loop:
        train[new] = loop[old]
    interval = loop.get("val_interval", 1000 if new == "steps" else 1)
    if new == "steps" or interval != 1:  # one epoch is the default here
        train["val_interval"] = interval
    if loop.get("val_begin", 1) > 1:
        converter.report(f"{at}.val_begin", "is not converted; evaluation starts with the first interval")
    converted = {"type", "by_epoch", "max_epochs", "max_iters", "val_interval", "val_begin", "other_loaders"}
    for key in loop.keys() - converted:
        converter.report(f"{at}.{key}", "has no equivalent here")


def _checkpoint_options(converter: Converter, hook: Mapping[str, Any] | None, train: Table) -> None:
    if hook is None and "steps" not in train:
        return
    hook = hook or {}
    interval, by_epoch = hook.get("interval", 1), hook.get("by_epoch", True)
    if interval < 1 or ("steps" in train and by_epoch):  # only at the end; a run in iterations is one epoch there
        train["checkpoint_interval"] = train.get("steps") or train.get("epochs", 1)
    elif not by_epoch and "steps" not in train:
        train["checkpoint_steps"] = interval
    elif "steps" in train or interval != 1:
        train["checkpoint_interval"] = interval
    train["keep"] = max(0, hook.get("max_keep_ckpts", 0))  # published: -1 keeps all
    best = hook.get("save_best")
    if isinstance(best, str) and best != "auto":
        train["best"] = best
    elif best is not None and not isinstance(best, str):
        converter.report("default_hooks.checkpoint.save_best", "must be a single score")
    if isinstance(hook.get("rule"), str):
        train["best_rule"] = hook["rule"]


def convert_optimizer(converter: Converter, wrapper: Mapping[str, Any], task: Table) -> None:
    """Convert ``optim_wrapper`` to ``[optimizer]``, ``[param_groups]`` and ``runtime.precision``."""
    at = "optim_wrapper"
    kind = wrapper.get("type", "OptimWrapper")
    if kind == "AmpOptimWrapper":
        number = wrapper.get("dtype")
        if number in PRECISIONS:
            task.setdefault("runtime", {})["precision"] = PRECISIONS[number]
        else:
            converter.report(f"{at}.dtype", f"must be float16 or bfloat16, found {number}")
    elif kind != "OptimWrapper":
        converter.report(f"{at}.type", f"{kind} has no equivalent here")
    groups = {"constructor", "paramwise_cfg"}
    known = {"type", "optimizer", "clip_grad", "accumulative_counts", "loss_scale", "dtype"} | groups
    for key in wrapper.keys() - known:
        converter.report(f"{at}.{key}", "has no equivalent here")
    if "optimizer" in wrapper:
        optimizer = converter.component(wrapper["optimizer"], f"{at}.optimizer")
        if optimizer is not None:
            task["optimizer"] = optimizer
    grouping = _grouping(converter, wrapper, at)
    if grouping is not None:
        task["param_groups"] = grouping


def _grouping(converter: Converter, wrapper: Mapping[str, Any], at: str) -> Table | None:
    settings = dict(wrapper.get("paramwise_cfg") or {})
    constructor = wrapper.get("constructor", "DefaultOptimWrapperConstructor")
    if constructor == "DefaultOptimWrapperConstructor":
        settings.pop("bypass_duplicate", None)  # a shared parameter always counts once
        return converter.component({"type": "DefaultGroups", **settings}, f"{at}.paramwise_cfg") if settings else None
    if constructor not in GROUPINGS:
        converter.report(f"{at}.constructor", f"{constructor} has no equivalent here")
        return None
    if constructor == "SwinOptimWrapperConstructor":
        settings = {"custom_keys": settings}
    if settings.pop("decay_type", "layer_wise") != "layer_wise":
        converter.report(f"{at}.paramwise_cfg.decay_type", "must be layer_wise")
    return converter.component({"type": GROUPINGS[constructor], **settings}, f"{at}.paramwise_cfg")


def convert_schedules(converter: Converter, schedules: Any) -> Table:
    """Convert ``param_scheduler`` to the named tables of ``[schedule]``."""
    named: Table = {}
    for i, table in enumerate(schedules if isinstance(schedules, list) else [schedules]):
        at = f"param_scheduler[{i}]"
        new = converter.component(_as_lr_schedule(converter, table, at), at)
        if new is not None:
            short = SCHEDULE_NAMES.get(new["type"], snake_case(new["type"]).removesuffix("_lr"))
            named[free_name(f"{short}_momentum" if "param" in new else short, named)] = new
    return named


def _as_lr_schedule(converter: Converter, table: Any, at: str) -> Any:
    """Convert schedules of the momentum: ``LinearMomentum`` and ``LinearParamScheduler`` are ``LinearLR`` here."""
    kind = (
        re.fullmatch(r"(.+)(Momentum|ParamScheduler)", str(table.get("type"))) if isinstance(table, Mapping) else None
    )
    if kind is None:
        return table
    param = "momentum" if kind[2] == "Momentum" else table.get("param_name", "lr")
    if param not in ("lr", "momentum"):
        converter.report(f"{at}.param_name", f"must be lr or momentum, found {param}")
    return {**table, "type": f"{kind[1]}LR", **({"param": param} if param == "momentum" else {})}


def convert_metrics(converter: Converter, config: Mapping[str, Any]) -> Table:
    """Convert the evaluators to the named tables of ``[metrics]``, which validation and test share."""
    found: dict[str, list[Any]] = {}
    for part in ("val", "test"):
        value = config.get(f"{part}_evaluator")
        found[part] = _metric_tables(value)
    if found["val"] and found["test"] and found["val"] != found["test"]:
        converter.report("test_evaluator", "validation and test share metrics; those of the test are used")
    part = "test" if found["test"] else "val"
    named: Table = {}
    for i, table in enumerate(found[part]):
        new = converter.component(table, f"{part}_evaluator[{i}]" if len(found[part]) > 1 else f"{part}_evaluator")
        if new is not None:
            short = snake_case(new["type"]).removesuffix("_metric")
            named[free_name(METRIC_NAMES.get(new["type"], short), named)] = new
    return named


def _metric_tables(evaluator: Any) -> list[Any]:
    """The metrics of an evaluator: a table, a list of them, or either under ``metrics`` of an ``Evaluator``."""
    if isinstance(evaluator, list):
        return [table for part in evaluator for table in _metric_tables(part)]
    if isinstance(evaluator, Mapping) and "metrics" in evaluator:
        return _metric_tables(evaluator["metrics"])
    return [evaluator] if evaluator else []


def file_name(url: str) -> str:
    """Return the file name of a URL; return anything else unchanged."""
    return posixpath.basename(url) if url.startswith(("http://", "https://")) else url


def _accuracy(converter: Converter, table: Table, at: str) -> Table:
    table = without(table, "collect_device")
    options = dict(table.pop("metric_options", None) or {})
    top = dict(options.pop("top_k_accuracy", None) or {})
    if "topk" in top:
        table["topk"] = [top["topk"]] if isinstance(top["topk"], int) else top["topk"]
    if isinstance(table.get("metric_list"), str):
        table["metric_list"] = [table["metric_list"]]
    for name in options:
        converter.report(f"{at}.metric_options.{name}", "has no equivalent here")
    return table


SCHEDULES = (
    *("ConstantLR", "CosineAnnealingLR", "CosineRestartLR", "ExponentialLR", "LinearLR"),
    *("MultiStepLR", "OneCycleLR", "PolyLR", "StepLR"),
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(SCHEDULES, drop_arguments("verbose", "last_step", "param_name")),
    "AccMetric": _accuracy,
    "ConfusionMatrix": drop_arguments("collect_device", "prefix"),
}
