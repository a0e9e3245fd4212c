"""Conversion of what surrounds the training: machine, processes, logs, visualisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from vid_mmaction2 import localization
from vid_mmaction2.components import NO_EQUIVALENT, Converter, Table

__all__ = ["NO_EFFECT", "convert_machine", "convert_observers", "leave_out_environment"]

NO_EFFECT = {
    "cfg": NO_EQUIVALENT,
    "custom_imports": "turn custom code into a vidcore plugin",
    "default_scope": "components have one name here",
    "experiment_name": "runs are named after their Task",
    "launcher": "start processes with torchrun",
    "log_level": "messages have no levels",
    "resume": "use vidcore run --resume",
    "work_dir": "use vidcore run --dir",
}
"""Settings that do not affect results -> what to do instead."""

SECTIONS = {
    "env_cfg.dist_cfg.backend": "is chosen by the device",
    "env_cfg.mp_cfg.mp_start_method": "is the default of Python",
    "env_cfg.mp_cfg.opencv_num_threads": "workers use one thread",
    "env_cfg.resource_limit": "set it in the shell: ulimit -n",
    "log_processor.custom_cfg": "means are over train.log_interval steps",
    "log_processor.num_digits": "numbers are not rounded in files",
    "log_processor.window_size": "means are over train.log_interval steps",
}
"""The same within tables all of whose settings have no effect, except ``env_cfg.cudnn_benchmark``."""

USUAL = {
    "default_scope": "mmaction",
    "env_cfg.dist_cfg.backend": "nccl",
    "env_cfg.mp_cfg.mp_start_method": "fork",
    "env_cfg.mp_cfg.opencv_num_threads": 0,
    "launcher": "none",
    "log_level": "INFO",
    "log_processor.by_epoch": True,
    "log_processor.type": "LogProcessor",
    "log_processor.window_size": 20,
}
"""Values that are in every published configuration, and not worth a line."""

WANDB_KEYS = {"project", "name", "mode", "tags"}
"""Options of the back end that the observer ``WandB`` has, too."""


def convert_machine(converter: Converter, config: Mapping[str, Any], task: Table) -> None:
    """Convert randomness, wrappers of the model and loops of evaluation to ``[runtime]``."""
    runtime = task.setdefault("runtime", {})
    randomness = config.get("randomness") or {}
    if randomness.get("seed") is not None:
        runtime["seed"] = randomness["seed"]
    why = "all random numbers depend on the sample"
    converter.leave_out("randomness.diff_rank_seed", randomness.get("diff_rank_seed"), why)
    converter.leave_rest(randomness, "randomness", "seed", "deterministic", "diff_rank_seed")
    benchmark = (config.get("env_cfg") or {}).get("cudnn_benchmark")
    if randomness.get("deterministic"):
        runtime["deterministic"] = True
        converter.leave_out("env_cfg.cudnn_benchmark", benchmark, "randomness.deterministic forbids it")
    elif benchmark:
        runtime["cudnn_benchmark"] = True
    wrapper = config.get("model_wrapper_cfg") or {}
    kind = converter.kind(wrapper, "model_wrapper_cfg", "MMDistributedDataParallel")
    converter.leave_rest(wrapper, "model_wrapper_cfg", "type", "find_unused_parameters", "static_graph")
    if kind != "MMDistributedDataParallel":
        converter.report("model_wrapper_cfg.type", f"{kind} is not converted; see runtime.strategy")
    # DDP with a static graph detects unused parameters
    if config.get("find_unused_parameters") or wrapper.get("find_unused_parameters") or wrapper.get("static_graph"):
        runtime["find_unused_parameters"] = True
    converter.imply("model_wrapper_cfg.static_graph", wrapper.get("static_graph"))
    if config.get("sync_bn") or converter.sync_batchnorm:
        runtime["sync_batchnorm"] = True
    if folder := localization.result_folder(config):
        runtime["run_dir"] = folder
    if config.get("compile"):
        runtime["compile"] = True
        if config["compile"] is not True:
            converter.report("compile", "must be true or false; options are not converted")
    for part in ("val", "test"):
        loop, at = config.get(f"{part}_cfg") or {}, f"{part}_cfg"
        kind = converter.kind(loop, at)
        if kind not in ("", f"{part.capitalize()}Loop"):
            converter.report(f"{at}.type", f"{kind} has no equivalent here")
        converter.leave_out(f"{at}.fp16", loop.get("fp16"), "set runtime.precision")
        converter.leave_rest(loop, at, "type", "fp16")


def leave_out_environment(converter: Converter, config: Mapping[str, Any]) -> None:
    """List the settings that do not affect results."""
    settings = {key: config[key] for key in NO_EFFECT if key in config}
    for section in ("env_cfg", "log_processor"):
        settings |= dict(_flat(converter.table(config.get(section), section), section))
    for place, value in settings.items():
        if place in USUAL and value == USUAL[place]:
            converter.imply(place, value)
        elif place != "env_cfg.cudnn_benchmark":
            converter.leave_out(place, value, NO_EFFECT.get(place) or SECTIONS.get(place, NO_EQUIVALENT))


def _flat(table: Mapping[str, Any], at: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{at}.{key}")
        else:
            yield f"{at}.{key}", value


def convert_observers(converter: Converter, config: Mapping[str, Any]) -> Table:
    """Convert the back ends of visualisation to ``[observers]``; pictures are left out."""
    visualizer = config.get("visualizer") or {}
    kind = converter.kind(visualizer, "visualizer", "ActionVisualizer")
    if kind in ("ActionVisualizer", "Visualizer"):
        converter.imply("visualizer.type", visualizer.get("type"))
    else:
        converter.leave_out("visualizer", kind, "vidcore predict shows predictions")
    converter.leave_rest(visualizer, "visualizer", "type", "vis_backends")
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
            converter.leave_rest(table, place, "type")
        elif kind == "WandbVisBackend" and "project" in options:
            named["wandb"] = {"type": "WandB", **{k: options[k] for k in WANDB_KEYS & options.keys()}}
            converter.leave_rest(options, f"{place}.init_kwargs", *WANDB_KEYS)
            converter.leave_rest(table, place, "type", "init_kwargs")
        elif kind == "LocalVisBackend":
            converter.imply(f"{place}.type", kind)
            converter.leave_rest(table, place, "type", why="a run folder has fixed names")
        else:
            converter.leave_out(place, kind, "is not an observer of vidcore")
            converter.leave_rest(table, place, "type", why=f"{kind} is left out")
    return named
