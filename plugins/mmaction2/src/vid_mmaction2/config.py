"""Conversion of a whole configuration to a Task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from vid_mmaction2 import data, localization, models, pipelines, training
from vid_mmaction2.components import Converter, Table, strip_scope, without
from vidcore.plugins.catalog import Catalog

__all__ = ["Imported", "convert_config"]

RULES = {**models.RULES, **pipelines.RULES, **data.RULES, **training.RULES, **localization.RULES}

UNSUPPORTED = {
    "activation_checkpointing": "use with_cp of the backbone",
    "custom_imports": "turn custom code into a vidcore plugin",
    "lr_config": "it belongs to MMAction2 0.x; convert it to 1.x first (train_dataloader, optim_wrapper, ...)",
    "tta_model": "multiple views are part of the pipeline",
    "tta_pipeline": "multiple views are part of the pipeline",
}
"""Settings that affect results. Settings that do not, and variables of the file, are ignored."""

TABLES = (
    "train_cfg",
    "val_cfg",
    "test_cfg",
    "optim_wrapper",
    "default_hooks",
    "randomness",
    "model_wrapper_cfg",
    "auto_scale_lr",
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
        return Imported(job or {}, tuple(converter.problems))
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
    task["metrics"] = attempt("val_evaluator, test_evaluator", training.convert_metrics, converter, config)
    attempt("runtime", _runtime, converter, config, task)
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
    return Imported(kept, tuple(converter.problems), tuple(converter.notes))


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
    if randomness.get("deterministic"):
        runtime["deterministic"] = True
    wrapper = config.get("model_wrapper_cfg") or {}
    kind = strip_scope(wrapper.get("type", "MMDistributedDataParallel"))
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
        kind = (config.get(f"{part}_cfg") or {}).get("type", "")
        if kind not in ("", f"{part.capitalize()}Loop"):
            converter.report(f"{part}_cfg.type", f"{kind} has no equivalent here")


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
