"""Conversion of a whole configuration to a Task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vid_mmaction2 import data, localization, models, pipelines, training
from vid_mmaction2.components import Converter, Table, without
from vidcore.plugins.catalog import Catalog

__all__ = ["Imported", "convert_config"]

RULES = {**models.RULES, **pipelines.RULES, **data.RULES, **training.RULES, **localization.RULES}

UNSUPPORTED = {
    "activation_checkpointing": "use with_cp of the backbone",
    "lr_config": "it belongs to MMAction2 0.x; convert it to 1.x first (train_dataloader, optim_wrapper, ...)",
    "tta_model": "multiple views are part of the pipeline",
    "tta_pipeline": "multiple views are part of the pipeline",
}
"""Settings that affect results and are not converted -> advice."""

NO_EFFECT = {
    "cfg": "has no equivalent here",
    "custom_imports": "turn custom code into a vidcore plugin",
    "env_cfg.dist_cfg.backend": "is chosen by the device",
    "env_cfg.mp_cfg.mp_start_method": "is the default of Python",
    "env_cfg.mp_cfg.opencv_num_threads": "workers use one thread",
    "env_cfg.resource_limit": "set it in the shell: ulimit -n",
    "experiment_name": "runs are named after their Task",
    "launcher": "start processes with torchrun",
    "log_level": "messages have no levels",
    "log_processor.custom_cfg": "means are over train.log_interval steps",
    "log_processor.num_digits": "numbers are not rounded in files",
    "log_processor.window_size": "means are over train.log_interval steps",
    "randomness.diff_rank_seed": "all random numbers depend on the sample",
    "resume": "use vidcore run --resume",
    "test_cfg.fp16": "set runtime.precision",
    "val_cfg.fp16": "set runtime.precision",
    "work_dir": "use vidcore run --dir",
}
"""Settings that do not affect results -> what to do instead. Variables of the file are ignored."""

DEFAULTS = {
    "env_cfg.dist_cfg.backend": "nccl",
    "env_cfg.mp_cfg.mp_start_method": "fork",
    "env_cfg.mp_cfg.opencv_num_threads": 0,
    "launcher": "none",
    "log_level": "INFO",
    "log_processor.window_size": 20,
}
"""Values of these settings that are in every published configuration, and not worth a line."""

WANDB_KEYS = {"project", "name", "mode", "tags"}
"""Options of the back end that the observer ``WandB`` has, too."""

TABLES = (
    "train_cfg",
    "val_cfg",
    "test_cfg",
    "optim_wrapper",
    "default_hooks",
    "randomness",
    "model_wrapper_cfg",
    "auto_scale_lr",
    "env_cfg",
    "log_processor",
    "visualizer",
)

IMAGE_WEIGHTS = {
    "mmcls://mobilenet_v2": "mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth",
    "torchvision://resnet18": "resnet18-f37072fd.pth",
    "torchvision://resnet34": "resnet34-b627a593.pth",
    "torchvision://resnet50": "resnet50-0676ba61.pth",
    "torchvision://resnet101": "resnet101-63fe2227.pth",
    "torchvision://resnet152": "resnet152-394f9c45.pth",
}
"""Files of the short names of image networks."""


@frozen
class Imported:
    """The result of an import."""

    task: Table
    """The converted part, as a Task table."""
    problems: tuple[str, ...]
    """``place in the published configuration: reason``, one for each setting that cannot be converted."""
    notes: tuple[str, ...] = ()
    """``place in the published configuration: what differs here``, one for each approximate conversion."""
    left_out: tuple[str, ...] = ()
    """``place in the published configuration: value: why``, one for each setting that does not change a result."""


def convert_config(config: Mapping[str, Any], catalog: Catalog) -> Imported:
    """Convert a whole MMAction2 1.x configuration.

    Args:
        config: as ``read_config`` returns it.
        catalog: the installed components.
    """
    converter = Converter(catalog, RULES, models.OTHER_PACKAGES)
    config = _without_malformed(converter, config)
    attempt = converter.attempt
    task: Table = {}
    if "pgm_proposals_cfg" in config:
        job = converter.attempt("pgm_proposals_cfg", localization.convert_generation, converter, config)
        return Imported(job or {}, tuple(converter.problems), tuple(converter.notes), tuple(converter.left_out))
    model = config.get("model")
    if model is None:
        converter.report("model", "is missing; a Task needs one")
    else:
        if isinstance(model, Mapping) and config.get("data_preprocessor"):  # may also be next to the model
            model = {"data_preprocessor": config["data_preprocessor"], **model}
        task["model"] = converter.component(model, "model")
    loaders = {
        part: attempt(at, data.convert_loader, converter, config[at], at)
        for part in ("train", "val", "test")
        if config.get(at := f"{part}_dataloader") is not None
    }
    task["data"] = {part: table for part, table in loaders.items() if table}
    if others := (config.get("train_cfg") or {}).get("other_loaders"):
        at = "train_cfg.other_loaders"
        task["data"]["train_extra"] = attempt(at, data.convert_other_loaders, converter, others, at)
    task["train"] = attempt("train_cfg, default_hooks, custom_hooks", training.convert_train, converter, config) or {}
    if config.get("optim_wrapper"):
        attempt("optim_wrapper", training.convert_optimizer, converter, config["optim_wrapper"], task)
    schedules = config.get("param_scheduler") or []
    task["schedule"] = attempt("param_scheduler", training.convert_schedules, converter, schedules)
    at = "val_evaluator, test_evaluator"
    task["metrics"] = attempt(at, training.convert_metrics, converter, config, task["data"])
    task["observers"] = attempt("visualizer, vis_backends", _observers, converter, config)
    attempt("runtime", _runtime, converter, config, task)
    attempt("env_cfg, log_processor", _leave_out, converter, config)
    for key, advice in UNSUPPORTED.items():
        if config.get(key):
            converter.report(key, f"cannot be converted: {advice}")
    _initial_weights(converter, config, task["train"])
    scaling = config.get("auto_scale_lr") or {}
    if base := scaling.get("base_batch_size"):
        if scaling.get("enable"):
            task["train"]["base_batch_size"] = base
        else:
            task["info"] = {"base_batch_size": base}  # for information only
    kept = {key: _without_none(table) for key, table in task.items() if table}
    return Imported(kept, tuple(converter.problems), tuple(converter.notes), tuple(converter.left_out))


def _without_none(value: Any) -> Any:
    """Drop settings that are None, which TOML lacks."""
    if isinstance(value, Mapping):
        return {key: _without_none(v) for key, v in value.items() if v is not None}
    return [_without_none(v) for v in value if v is not None] if isinstance(value, (list, tuple)) else value


def _without_malformed(converter: Converter, config: Mapping[str, Any]) -> Table:
    """Return the configuration without sections that are not tables, or lists of tables, as required."""
    wrong = {key: "a table" for key in TABLES if not isinstance(config.get(key) or {}, Mapping)}
    hooks = config.get("custom_hooks") or []
    if not isinstance(hooks, list) or not all(isinstance(hook, Mapping) for hook in hooks):
        wrong["custom_hooks"] = "a list of tables"
    for key, form in wrong.items():
        converter.report(key, f"must be {form}")
    return without(config, *wrong)


def _runtime(converter: Converter, config: Mapping[str, Any], task: Table) -> None:
    runtime = task.setdefault("runtime", {})
    randomness = config.get("randomness") or {}
    if randomness.get("seed") is not None:
        runtime["seed"] = randomness["seed"]
    benchmark = (config.get("env_cfg") or {}).get("cudnn_benchmark")
    if randomness.get("deterministic"):
        runtime["deterministic"] = True
        converter.leave_out("env_cfg.cudnn_benchmark", benchmark, "randomness.deterministic forbids it")
    elif benchmark:
        runtime["cudnn_benchmark"] = True
    wrapper = config.get("model_wrapper_cfg") or {}
    kind = converter.kind(wrapper, "model_wrapper_cfg", "MMDistributedDataParallel")
    for key in without(wrapper, "type", "find_unused_parameters", "static_graph"):
        converter.leave_out(f"model_wrapper_cfg.{key}", wrapper[key], "has no equivalent here")
    if kind != "MMDistributedDataParallel":
        converter.report("model_wrapper_cfg.type", f"{kind} is not converted; see runtime.strategy")
    # DDP with a static graph detects unused parameters
    if config.get("find_unused_parameters") or wrapper.get("find_unused_parameters") or wrapper.get("static_graph"):
        runtime["find_unused_parameters"] = True
    if config.get("sync_bn") or converter.sync_batchnorm:
        runtime["sync_batchnorm"] = True
    if folder := localization.result_folder(config):
        runtime["run_dir"] = folder
    if config.get("compile"):
        runtime["compile"] = True
        if config["compile"] is not True:
            converter.report("compile", "must be true or false; options are not converted")
    for part in ("val", "test"):
        kind = converter.kind(config.get(f"{part}_cfg") or {}, f"{part}_cfg")
        if kind not in ("", f"{part.capitalize()}Loop"):
            converter.report(f"{part}_cfg.type", f"{kind} has no equivalent here")


def _leave_out(converter: Converter, config: Mapping[str, Any]) -> None:
    """List the settings that do not affect results."""
    for place, why in NO_EFFECT.items():
        value: Any = config
        for i, key in enumerate(keys := place.split(".")):
            value = converter.table(value, ".".join(keys[:i])).get(key)
        if value != DEFAULTS.get(place):
            converter.leave_out(place, value, why)


def _observers(converter: Converter, config: Mapping[str, Any]) -> Table:
    """Convert the back ends of visualisation to ``[observers]``; pictures are left out."""
    visualizer = config.get("visualizer") or {}
    kind = converter.kind(visualizer, "visualizer", "ActionVisualizer")
    if kind not in ("ActionVisualizer", "Visualizer"):
        converter.leave_out("visualizer", kind, "vidcore predict shows predictions")
    at = "visualizer.vis_backends" if visualizer.get("vis_backends") else "vis_backends"
    backends = visualizer.get("vis_backends") or config.get("vis_backends") or []
    named: Table = {}
    for i, backend in enumerate(backends if isinstance(backends, list) else [backends]):
        place = f"{at}[{i}]"
        table = converter.table(backend, place)
        kind = converter.kind(table, place)
        options = converter.table(table.get("init_kwargs"), f"{place}.init_kwargs")
        if kind == "TensorboardVisBackend":
            named["tensorboard"] = {"type": "TensorBoard"}
        elif kind == "WandbVisBackend" and "project" in options:
            named["wandb"] = {"type": "WandB", **{k: options[k] for k in WANDB_KEYS & options.keys()}}
            for key in options.keys() - WANDB_KEYS:
                converter.leave_out(f"{place}.init_kwargs.{key}", options[key], "has no equivalent here")
        elif kind != "LocalVisBackend":
            converter.leave_out(place, kind, "is not an observer of vidcore")
    return named


def _initial_weights(converter: Converter, config: Mapping[str, Any], train: Table) -> None:
    """Initial weights, of the whole network or of its backbone, are one option here."""
    if not isinstance(config.get("load_from") or "", str):
        converter.report("load_from", f"must be a string, found {type(config['load_from']).__name__}")
    elif config.get("load_from"):
        train["weights"] = training.file_name(config["load_from"])
        return
    for i, (at, name) in enumerate(converter.weights.items()):
        file = IMAGE_WEIGHTS.get(name, training.file_name(name))
        if i or "://" in file:
            converter.report(f"{at}.pretrained", f"is not converted; set train.weights to the file of {name}")
        else:
            train["weights"] = file
