"""Conversion of the training settings: loops, optimizer, schedules, hooks, evaluators."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import (
    NO_EQUIVALENT,
    Converter,
    Rule,
    Table,
    drop_arguments,
    snake_case,
    strip_scope,
    without,
)
from vid_mmaction2.pipelines import free_name

__all__ = ["RULES", "convert_metrics", "convert_optimizer", "convert_schedules", "convert_train"]

SCHEDULE_NAMES = {"LinearLR": "warmup", "MultiStepLR": "step", "CosineAnnealingLR": "cosine"}
METRIC_NAMES = {"AccMetric": "acc", "ANetMetric": "anet", "ConfusionMatrix": "confusion", "RecallatTopK": "recall"}
GROUPINGS = {
    "TSMOptimWrapperConstructor": "TSMGroups",
    "SwinOptimWrapperConstructor": "SwinGroups",
    "LearningRateDecayOptimizerConstructor": "LayerDecayGroups",
}
DEFAULT_GROUPING = "DefaultOptimWrapperConstructor"
STANDARD_HOOKS = {
    "runtime_info": "RuntimeInfoHook",
    "timer": "IterTimerHook",
    "param_scheduler": "ParamSchedulerHook",
    "sampler_seed": "DistSamplerSeedHook",
    "sync_buffers": "SyncBuffersHook",
}
"""Hooks whose job is always done here."""
LEFT_OUT_HOOKS = {
    "EmptyCacheHook": "memory of the GPU is not released during a run",
    "NPUProfilerHook": "use torch.profiler",
    "ProfilerHook": "use torch.profiler",
    "VisualizationHook": "nothing is drawn during a run",
}
"""Hooks that do not change a result."""
EMA = "ExponentialMovingAverage"
EMA_DEFAULTS = {"interval": 1, "begin_iter": 0, "begin_epoch": 0, "evaluate_on_ema": True, "evaluate_on_origin": False}
"""Options of ``EMAHook`` with the only value that is converted."""
LOGGER_KEYS = ("interval", "type", "priority", "ignore_last")
CHECKPOINT_KEYS = ("interval", "by_epoch", "max_keep_ckpts", "save_best", "rule")
COLLECTED = "predictions of all processes are always collected"
PREFIX = "names of scores are fixed here"
PRECISIONS = {None: "fp16", "float16": "fp16", "bfloat16": "bf16"}


def convert_train(converter: Converter, config: Mapping[str, Any]) -> Table:
    """Convert loops, gradients and checkpoints to ``[train]``."""
    train: Table = {}
    _loop(converter, config.get("train_cfg") or {}, train)
    wrapper = config.get("optim_wrapper") or {}
    at = "optim_wrapper.accumulative_counts"
    if (count := converter.integer(wrapper.get("accumulative_counts"), at, 1)) != 1:
        train["accumulate"] = count
        schedules = config.get("param_scheduler") or []
        tables = [s for s in (schedules if isinstance(schedules, list) else [schedules]) if isinstance(s, Mapping)]
        if "steps" in train or not all(s.get("by_epoch", True) for s in tables):
            why = f"iterations are batches there and steps here; divide numbers of iterations by {count}"
            converter.report(at, why)
    at = "optim_wrapper.clip_grad"
    clip = converter.table(wrapper.get("clip_grad"), at)
    if "max_norm" in clip:
        train["clip_norm"] = clip["max_norm"]
        if (norm := clip.get("norm_type", 2)) != 2:
            train["clip_norm_type"] = "inf" if norm in (math.inf, "inf") else norm
    if "clip_value" in clip:
        train["clip_value"] = clip["clip_value"]
    if clip.get("type", "norm") != ("value" if "clip_value" in clip else "norm"):
        converter.report(f"{at}.type", f"must be norm with max_norm, or value with clip_value, found {clip['type']}")
    converter.leave_rest(clip, at, "type", "max_norm", "norm_type", "clip_value")
    hooks = config.get("default_hooks") or {}
    _checkpoint_options(converter, hooks.get("checkpoint"), train)
    at = "default_hooks.logger"
    logger = converter.table(hooks.get("logger"), at)
    if "interval" in logger:
        train["log_interval"] = logger["interval"]
    _imply_kind(converter, logger, at, "LoggerHook")
    converter.imply(f"{at}.ignore_last", logger.get("ignore_last"))
    converter.leave_rest(logger, at, *LOGGER_KEYS)
    others = {f"default_hooks.{k}": hook for k, hook in hooks.items() if k not in ("checkpoint", "logger")}
    others |= {f"custom_hooks[{i}]": hook for i, hook in enumerate(config.get("custom_hooks") or [])}
    for at, hook in others.items():
        _hook(converter, converter.table(hook, at), at, train)
    return train


def _hook(converter: Converter, hook: Table, at: str, train: Table) -> None:
    kind = converter.kind(hook, at)
    if not hook:
        return
    converter.imply(f"{at}.priority", hook.get("priority"))
    if kind in STANDARD_HOOKS.values():
        converter.imply(f"{at}.type", hook["type"])
        converter.leave_rest(hook, at, "type", "priority", why="its work is always done")
    elif kind == "EarlyStoppingHook":
        _early_stop(converter, hook, at, train)
    elif kind == "EMAHook":
        _average(converter, hook, at, train)
    elif kind == "PreciseBNHook":
        train["precise_bn"] = converter.integer(hook.get("num_iters"), f"{at}.num_iters", 200)
        why = "statistics are computed before every evaluation"
        converter.leave_rest(hook, at, "type", "priority", "num_iters", why=why)
    elif kind == "VisualizationHook" and not hook.get("enable"):
        converter.imply_all(without(hook, "priority"), at)
    elif kind in LEFT_OUT_HOOKS:
        converter.leave_out(at, kind, LEFT_OUT_HOOKS[kind])
        converter.leave_rest(hook, at, "type", "priority", "enable", why=f"{kind} is left out")
    else:
        converter.report(at, f"{kind or 'this hook'} has no equivalent here")


def _imply_kind(converter: Converter, hook: Table, at: str, wanted: str) -> None:
    """List type and priority of a hook that is always there; report a different type."""
    if (kind := converter.kind(hook, at, wanted)) != wanted:
        converter.report(f"{at}.type", f"{kind} has no equivalent here")
    converter.imply(f"{at}.type", hook.get("type"))
    converter.imply(f"{at}.priority", hook.get("priority"))


def _average(converter: Converter, hook: Mapping[str, Any], at: str, train: Table) -> None:
    """Convert an average of the weights; here, it starts with the first step and includes batch-norm statistics."""
    kind = converter.kind({"type": hook.get("ema_type")}, f"{at}.ema_type", EMA)
    if kind != EMA:
        converter.report(f"{at}.ema_type", f"must be {EMA}, found {kind}")
    momentum = hook.get("momentum", 0.0002)
    train["ema_decay"] = 1 - momentum
    for key, usual in EMA_DEFAULTS.items():
        if hook.get(key, usual) == usual:
            converter.imply(f"{at}.{key}", hook.get(key))
        else:
            converter.report(f"{at}.{key}", f"must be {usual}: the average follows every step; found {hook[key]!r:.60}")
    if not hook.get("update_buffers"):
        converter.notes.append(f"{at}.update_buffers: batch-norm statistics are averaged, too")
    converter.leave_rest(hook, at, "type", "priority", "ema_type", "momentum", "update_buffers", *EMA_DEFAULTS)


def _early_stop(converter: Converter, hook: Mapping[str, Any], at: str, train: Table) -> None:
    """Convert early stopping, which uses the score that selects the best weights, and counts any improvement."""
    train["early_stop"] = hook.get("patience", 5)
    for key, name in (("monitor", "best"), ("rule", "best_rule")):
        value = hook.get(key)
        if value is not None and train.setdefault(name, value) != value:
            converter.report(f"{at}.{key}", f"must be that of train.{name}, {train[name]}, found {value}")
    converter.notes.append(f"{at}.min_delta: any improvement counts, not only {hook.get('min_delta', 0.1)} or more")
    why = "training stops after evaluations without improvement only"
    converter.leave_rest(hook, at, "type", "priority", "monitor", "rule", "patience", "min_delta", why=why)


def _loop(converter: Converter, loop: Mapping[str, Any], train: Table) -> None:
    at = "train_cfg"
    kind = converter.kind(loop, at, "EpochBasedTrainLoop" if loop.get("by_epoch", True) else "IterBasedTrainLoop")
    lengths = {"EpochBasedTrainLoop": ("max_epochs", "epochs"), "IterBasedTrainLoop": ("max_iters", "steps")}
    if kind not in lengths and kind != "MultiLoaderEpochBasedTrainLoop":
        converter.report(f"{at}.type", f"{kind} has no equivalent here")
    old, new = lengths.get(kind, lengths["EpochBasedTrainLoop"])
    if old in loop:
        train[new] = loop[old]
    interval = converter.integer(loop.get("val_interval"), f"{at}.val_interval", 1000 if new == "steps" else 1)
    if new == "steps" or interval != 1:  # one epoch is the default here
        train["val_interval"] = interval
    if (begin := converter.integer(loop.get("val_begin"), f"{at}.val_begin", 1)) > 1:
        train["val_begin"] = begin
    converted = {"type", "by_epoch", "max_epochs", "max_iters", "val_interval", "val_begin", "other_loaders"}
    for key in loop.keys() - converted:
        converter.report(f"{at}.{key}", NO_EQUIVALENT)


def _checkpoint_options(converter: Converter, hook: Mapping[str, Any] | None, train: Table) -> None:
    if hook is None and "steps" not in train:
        return
    at = "default_hooks.checkpoint"
    hook = converter.table(hook, at)
    interval, by_epoch = converter.integer(hook.get("interval"), f"{at}.interval", 1), hook.get("by_epoch", True)
    if interval < 1 or ("steps" in train and by_epoch):  # only at the end; a run in iterations is one epoch there
        train["checkpoint_interval"] = train.get("steps") or train.get("epochs", 1)
    elif not by_epoch and "steps" not in train:
        train["checkpoint_steps"] = interval
    elif "steps" in train or interval != 1:
        train["checkpoint_interval"] = interval
    train["keep"] = max(0, converter.integer(hook.get("max_keep_ckpts"), f"{at}.max_keep_ckpts", 0))  # -1 keeps all
    best = hook.get("save_best")
    names = best if isinstance(best, list) else [best]
    if best not in (None, "auto") and all(isinstance(name, str) for name in names):
        train["best"] = best
    elif best not in (None, "auto"):
        converter.report(f"{at}.save_best", "must be the name of a score, or a list of names")
    if isinstance(hook.get("rule"), str):
        train["best_rule"] = hook["rule"]
    elif hook.get("rule") is not None:
        converter.report(f"{at}.rule", f"must be greater or less, found {hook['rule']!r:.60}")
    _imply_kind(converter, hook, at, "CheckpointHook")
    why = "checkpoints have fixed names and contents here"
    converter.leave_rest(hook, at, "type", "priority", *CHECKPOINT_KEYS, why=why)


def convert_optimizer(converter: Converter, wrapper: Mapping[str, Any], task: Table) -> None:
    """Convert ``optim_wrapper`` to ``[optimizer]``, ``[param_groups]`` and ``runtime.precision``."""
    at = "optim_wrapper"
    kind = converter.kind(wrapper, at, "OptimWrapper")
    if kind == "AmpOptimWrapper":
        number = wrapper.get("dtype")
        if number is None or (isinstance(number, str) and number in PRECISIONS):
            task.setdefault("runtime", {})["precision"] = PRECISIONS[number]
        else:
            converter.report(f"{at}.dtype", f"must be float16 or bfloat16, found {number}")
    elif kind != "OptimWrapper":
        converter.report(f"{at}.type", f"{kind} has no equivalent here")
    else:
        converter.leave_out(f"{at}.dtype", wrapper.get("dtype"), "only AmpOptimWrapper uses it")
    if (scale := wrapper.get("loss_scale")) == "dynamic":
        converter.imply(f"{at}.loss_scale", scale)
    else:
        converter.leave_out(f"{at}.loss_scale", scale, "the scale of the loss is always dynamic")
    groups = {"constructor", "paramwise_cfg"}
    known = {"type", "optimizer", "clip_grad", "accumulative_counts", "loss_scale", "dtype"} | groups
    for key in wrapper.keys() - known:
        converter.report(f"{at}.{key}", NO_EQUIVALENT)
    if "optimizer" in wrapper:
        optimizer = converter.component(wrapper["optimizer"], f"{at}.optimizer")
        if optimizer is not None:
            task["optimizer"] = optimizer
    grouping = _grouping(converter, wrapper, at)
    if grouping is not None:
        task["param_groups"] = grouping


def _grouping(converter: Converter, wrapper: Mapping[str, Any], at: str) -> Table | None:
    settings = converter.table(wrapper.get("paramwise_cfg"), f"{at}.paramwise_cfg")
    constructor = converter.kind({"type": wrapper.get("constructor")}, f"{at}.constructor", DEFAULT_GROUPING)
    if constructor == DEFAULT_GROUPING:
        converter.imply(f"{at}.paramwise_cfg.bypass_duplicate", settings.pop("bypass_duplicate", None))  # counts once
        no_dcn = drop_arguments(dcn_offset_lr_mult="no network here has deformable convolutions")
        settings = no_dcn(converter, settings, f"{at}.paramwise_cfg")
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
    if not isinstance(param, str) or param not in ("lr", "momentum"):
        converter.report(f"{at}.param_name", f"must be lr or momentum, found {param}")
    return {**without(table, "param_name"), "type": f"{kind[1]}LR", **({"param": param} if param == "momentum" else {})}


def convert_metrics(converter: Converter, config: Mapping[str, Any], data: Table) -> Table:
    """Convert the evaluators to the named tables of ``[metrics]``; those of the validation to its data if they differ.

    Args:
        converter: collects problems.
        config: the whole configuration.
        data: the converted ``[data]``, to which ``val.metrics`` are added.
    """
    places = {part: f"{part}_evaluator" for part in ("val", "test")}
    found = {part: _metric_tables(converter, config.get(at), at) for part, at in places.items()}
    if found["val"] and found["test"] and found["val"] != found["test"]:
        metrics = _named_metrics(converter, found["val"], "val_evaluator")
        if data.get("val"):
            data["val"]["metrics"] = metrics
        else:
            converter.leave_out("val_evaluator", config["val_evaluator"], "there is no data for validation")
    part = "test" if found["test"] else "val"
    return _named_metrics(converter, found[part], f"{part}_evaluator")


def _named_metrics(converter: Converter, tables: list[Any], place: str) -> Table:
    named: Table = {}
    for i, table in enumerate(tables):
        at = f"{place}[{i}]" if len(tables) > 1 else place
        new = _dump(converter, table, at) if _is_dump(table) else converter.component(table, at)
        if new is not None:
            short = snake_case(new["type"]).removesuffix("_metric")
            named[free_name(METRIC_NAMES.get(new["type"], short), named)] = new
    return named


def _metric_tables(converter: Converter, evaluator: Any, at: str) -> list[Any]:
    """The metrics of an evaluator: a table, a list of them, or either under ``metrics`` of an ``Evaluator``."""
    if isinstance(evaluator, list):
        return [table for i, part in enumerate(evaluator) for table in _metric_tables(converter, part, f"{at}[{i}]")]
    if isinstance(evaluator, Mapping) and "metrics" in evaluator:
        if (kind := converter.kind(evaluator, at, "Evaluator")) != "Evaluator":
            converter.report(f"{at}.type", f"{kind} has no equivalent here")
        converter.leave_rest(evaluator, at, "type", "metrics")
        return _metric_tables(converter, evaluator["metrics"], f"{at}.metrics")
    return [evaluator] if evaluator else []


def _is_dump(table: Any) -> bool:
    return isinstance(table, Mapping) and strip_scope(str(table.get("type"))) == "DumpResults"


def _dump(converter: Converter, table: Mapping[str, Any], at: str) -> Table | None:
    """Convert ``DumpResults``, which writes a pickle, to ``DumpPredictions``, which writes arrays."""
    file = table.get("out_file_path")
    if not isinstance(file, str):
        converter.report(f"{at}.out_file_path", "must be a string")
        return None
    converter.leave_out(f"{at}.collect_device", table.get("collect_device"), COLLECTED)
    converter.leave_rest(table, at, "type", "out_file_path", "collect_device")
    converter.notes.append(f"{at}: predictions are written to an .npz file in the run folder, instead of {file}")
    return {"type": "DumpPredictions", "file": f"{posixpath.splitext(posixpath.basename(file))[0]}.npz"}


def _accuracy(converter: Converter, table: Table, at: str) -> Table:
    table = drop_arguments(collect_device=COLLECTED)(converter, table, at)
    options = converter.table(table.pop("metric_options", None), f"{at}.metric_options")
    top = converter.table(options.pop("top_k_accuracy", None), f"{at}.metric_options.top_k_accuracy")
    if "topk" in top:
        table["topk"] = [top["topk"]] if isinstance(top["topk"], int) else top["topk"]
    converter.leave_rest(top, f"{at}.metric_options.top_k_accuracy", "topk")
    if isinstance(table.get("metric_list"), str):
        table["metric_list"] = [table["metric_list"]]
    for name in options:
        converter.report(f"{at}.metric_options.{name}", NO_EQUIVALENT)
    return table


def _schedule(converter: Converter, table: Table, at: str) -> Table:
    if table.get("last_step", -1) != -1:
        converter.leave_out(f"{at}.last_step", table["last_step"], "schedules start with the run")
    converter.leave_out(f"{at}.verbose", table.get("verbose"), "vidcore explain --schedule draws the learning rate")
    return without(table, "verbose", "last_step")


def _plateau(converter: Converter, table: Table, at: str) -> Table:
    """Evaluations are what a plateau is measured in, in the whole run."""
    if "min_value" in table:
        table = {**without(table, "min_value"), "eta_min": table["min_value"]}
    for key, usual in (("begin", 0), ("end", 10**9), ("by_epoch", True)):
        if table.get(key, usual) != usual:
            converter.report(f"{at}.{key}", "must not be set: the schedule counts evaluations of the whole run")
    why = "every reduction counts, however small"
    return drop_arguments(eps=why)(converter, without(_schedule(converter, table, at), "begin", "end", "by_epoch"), at)


SCHEDULES = (
    *("ConstantLR", "CosineAnnealingLR", "CosineRestartLR", "ExponentialLR", "LinearLR"),
    *("MultiStepLR", "OneCycleLR", "PolyLR", "StepLR"),
)
RULES: dict[str, Rule] = {
    **dict.fromkeys(SCHEDULES, _schedule),
    "ReduceOnPlateauLR": _plateau,
    "AccMetric": _accuracy,
    "ConfusionMatrix": drop_arguments(collect_device=COLLECTED, prefix=PREFIX),
}
