"""Conversion of a whole configuration to a Task."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from attrs import evolve, frozen

from vid_mmaction2 import data, localization, models, pipelines, skeletons, structured, training
from vid_mmaction2.backbones import convert_network
from vid_mmaction2.components import Converter, Table, without
from vid_mmaction2.machine import NO_EFFECT, convert_machine, convert_observers, leave_out_environment
from vid_mmaction2.older import is_older, modernize, old_place
from vid_mmaction2.vindlu import with_words
from vid_mmaction2.weights import convert_weights
from vidcore.plugins.catalog import Catalog

__all__ = ["Imported", "convert_config"]

RULES = {**models.RULES, **pipelines.RULES, **data.RULES, **training.RULES, **localization.RULES, **structured.RULES}
RULES |= skeletons.RULES

UNSUPPORTED = {
    "activation_checkpointing": "use with_cp of the backbone",
    "lr_config": "it belongs to MMAction2 0.x, and other settings are those of 1.x; use param_scheduler",
    "tta_model": "multiple views are part of the pipeline",
    "tta_pipeline": "multiple views are part of the pipeline",
}
"""Settings that affect results and are not converted -> advice."""

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

SETTINGS = {
    *TABLES,
    *NO_EFFECT,
    *UNSUPPORTED,
    *("model", "train_dataloader", "val_dataloader", "test_dataloader", "val_evaluator", "test_evaluator"),
    *("param_scheduler", "custom_hooks", "load_from", "compile", "find_unused_parameters", "sync_bn"),
}
"""All settings that are read; everything else is a variable of the file."""
MAX_VARIABLES = 200
"""Maximum number of variables that are compared with the names of settings."""
GENERATION = {"pgm_proposals_cfg", "pgm_features_train_cfg", "pgm_features_test_cfg", "tem_results_dir", "work_dir"}
"""The settings of a configuration without a model."""


@frozen
class Imported:
    """The result of an import. Every setting is in the Task, or in one of the lists."""

    task: Table
    """The converted part, as a Task table."""
    problems: tuple[str, ...]
    """``place in the published configuration: reason``, one for each setting that cannot be converted."""
    notes: tuple[str, ...] = ()
    """``place in the published configuration: what differs here``, one for each approximate conversion."""
    left_out: tuple[str, ...] = ()
    """``place in the published configuration: value: why``, one for each setting that does not change a result."""
    implied: tuple[str, ...] = ()
    """``place in the published configuration: value``, one for each setting that vidcore always has."""
    variables: tuple[str, ...] = ()
    """Names that the file defines and that are not settings, such as ``dataset_type``."""


def convert_config(config: Mapping[str, Any], catalog: Catalog) -> Imported:
    """Convert a whole configuration of MMAction2 1.x, or of 0.x.

    Args:
        config: as ``read_config`` returns it.
        catalog: the installed components.
    """
    converter = Converter(catalog, RULES, convert_network)
    config = with_words(config)
    if not is_older(config):
        return _convert(converter, config)
    new, places = converter.attempt("data, lr_config, ...", modernize, converter, config) or ({}, {})
    found = _convert(converter, new)

    def placed(lines: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(old_place(line, places) for line in lines)

    return evolve(
        found,
        problems=placed(found.problems),
        notes=placed(found.notes),
        left_out=placed(found.left_out),
        implied=placed(found.implied),
    )


def _convert(converter: Converter, config: Mapping[str, Any]) -> Imported:
    config = _without_malformed(converter, config)
    if "pgm_proposals_cfg" in config:
        job = converter.attempt("pgm_proposals_cfg", localization.convert_generation, converter, config)
        return _imported(converter, job or {}, config.keys() - GENERATION)
    variables = config.keys() - SETTINGS
    attempt = converter.attempt
    task: Table = {}
    model = config.get("model")
    if model is None:
        converter.report("model", "is missing; a Task needs one")
    else:
        if isinstance(model, Mapping) and "data_preprocessor" not in model and config.get("data_preprocessor"):
            model = {"data_preprocessor": config["data_preprocessor"], **model}  # may also be next to the model
            variables -= {"data_preprocessor"}
        task["model"] = converter.component(structured.with_constants(model, config), "model")
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
    task["observers"] = attempt("visualizer, vis_backends", convert_observers, converter, config)
    if not (config.get("visualizer") or {}).get("vis_backends"):
        variables -= {"vis_backends"}
    attempt("runtime", convert_machine, converter, config, task)
    attempt("env_cfg, log_processor", leave_out_environment, converter, config)
    for key, advice in UNSUPPORTED.items():
        if config.get(key):
            converter.report(key, f"cannot be converted: {advice}")
    for name in sorted(variables)[:MAX_VARIABLES]:
        for setting in get_close_matches(name[:50], SETTINGS - config.keys(), 1, 0.9):
            converter.notes.append(f"{name}: is read as a variable; the setting is called {setting}")
    convert_weights(converter, config, task["train"])
    _batch_size(converter, config.get("auto_scale_lr") or {}, task)
    return _imported(converter, task, variables)


def _imported(converter: Converter, task: Table, variables: set[str]) -> Imported:
    lists = (converter.problems, converter.notes, converter.left_out, converter.implied, sorted(variables))
    return Imported({key: _without_none(table) for key, table in task.items() if table}, *map(tuple, lists))


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


def _batch_size(converter: Converter, scaling: Mapping[str, Any], task: Table) -> None:
    """Convert the batch size that the learning rate is for; it scales the rate only if the configuration wants that."""
    converter.leave_rest(scaling, "auto_scale_lr", "base_batch_size", "enable")
    if (base := scaling.get("base_batch_size")) and scaling.get("enable"):
        task["train"]["base_batch_size"] = base
    elif base:
        task["info"] = {"base_batch_size": base}
        why = f"the learning rate is for {base} samples per step and is not scaled; train.base_batch_size scales it"
        converter.notes.append(f"auto_scale_lr: {why}")
