"""Rewriting of configurations of MMAction2 0.x to the layout of 1.x.

Source: the migration guides of MMAction2 1.x and of MMEngine (schedules). What 1.x does not have is reported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vid_mmaction2.components import NO_EQUIVALENT, Converter, Table, strip_scope, without

__all__ = ["is_older", "modernize", "old_place"]

OLD = {"data", "evaluation", "lr_config", "optimizer_config", "total_epochs", "checkpoint_config", "log_config"}
NEW = {"train_dataloader", "val_dataloader", "test_dataloader", "optim_wrapper", "default_hooks", "param_scheduler"}
REWRITTEN = OLD | {
    *("model", "optimizer", "momentum_config", "runner", "total_iters", "train_cfg", "test_cfg", "eval_config", "fp16"),
    *("output_config", "precise_bn", "dist_params", "cudnn_benchmark", "opencv_num_threads", "mp_start_method"),
    *("resume_from", "workflow", "seed", "deterministic", "omnisource", "train_ratio", "gpu_ids", "custom_hooks"),
}
"""Settings of 0.x that have other names or places in 1.x."""

PACKERS = {"Collect", "ToTensor", "ToDataContainer", "ImageToTensor"}
"""Steps that are not needed: a sample has all its fields, and collating makes tensors."""
BEST = {
    "auto": "auto",
    "top_k_accuracy": "acc/top1",
    "mean_class_accuracy": "acc/mean1",
    "mean_average_precision": "acc/mean_average_precision",
    "mmit_mean_average_precision": "acc/mmit_mean_average_precision",
    "auc": "auc",
    "mAP": "average_mAP",
}
"""Old names of scores."""
LOGGERS = {"TextLoggerHook": "LocalVisBackend", "TensorboardLoggerHook": "TensorboardVisBackend"}
LOGGERS |= {"WandbLoggerHook": "WandbVisBackend"}

AUDIO = {
    "AudioDataset": ("AudioDataset", ".wav"),
    "AudioFeatureDataset": ("AudioDataset", ".npy"),
}
"""Old types of datasets of sound -> type, default suffix."""
AUDIO_PARTS = {"AudioRecognizer": "RecognizerAudio", "AudioTSNHead": "TSNAudioHead"}
"""Old types of networks on sound and of their heads."""

MAX_PLACE = 500
"""Maximum length of a place that is looked up; keys of hostile files are longer."""
Places = dict[str, str]
"""Place in the rewritten configuration -> place in the file."""


def is_older(config: Mapping[str, Any]) -> bool:
    """Return whether a configuration has the layout of 0.x."""
    return bool(OLD & config.keys()) and not NEW & config.keys()


def modernize(converter: Converter, config: Mapping[str, Any]) -> tuple[Table, Places]:
    """Rewrite a configuration of 0.x. Its variables stay.

    Args:
        converter: collects problems, with places in the file.
        config: as ``read_config`` returns it.

    Returns:
        The configuration in the layout of 1.x, and where its parts are in the file, see ``old_place``.
    """
    new: Table = without(config, *REWRITTEN)
    places: Places = {}
    data = converter.table(config.get("data"), "data")
    model = converter.table(config.get("model"), "model")
    for key in ("train_cfg", "test_cfg"):  # the first versions had them next to the model
        if config.get(key) is not None:
            model.setdefault(key, config[key])
    if "model" in config:
        head = model.get("cls_head")
        model |= {"cls_head": _renamed(head)} if isinstance(head, Mapping) else {}
        new["model"] = model = _renamed(model)
    _data(converter, data, model, new, places)
    _loop(converter, config, new, places)
    _evaluation(converter, config, data, new, places)
    _optimizer(converter, config, new, places)
    _schedules(converter, config, new, places)
    _hooks(converter, config, new, places)
    _machine(converter, config, new, places)
    return new, places


def _renamed(part: Mapping[str, Any]) -> Table:
    kind = part.get("type")
    return {**part, "type": AUDIO_PARTS[kind]} if isinstance(kind, str) and kind in AUDIO_PARTS else dict(part)


def old_place(line: str, places: Places) -> str:
    """Replace the place at the beginning of a message by that in the file."""
    end = min(len(line.partition(": ")[0]), MAX_PLACE)
    while end > 0:
        if (place := line[:end]) in places:
            return places[place] + line[end:]
        end = max(line.rfind(".", 0, end), line.rfind("[", 0, end))
    return line


def _data(converter: Converter, data: Table, model: Table, new: Table, places: Places) -> None:
    """Loader options are common to all parts, or in ``train_dataloader`` and so on within ``data``."""
    normalizations: dict[str, Table] = {}
    for part in ("train", "val", "test"):
        if data.get(part) is None:
            continue
        at, old = f"{part}_dataloader", f"data.{part}_dataloader"
        places |= {f"{at}.dataset": f"data.{part}", at: old}
        options = converter.table(data.pop(at, None), old)
        loader: Table = {}
        for key, name in (("videos_per_gpu", "batch_size"), ("workers_per_gpu", "num_workers")):
            if key in options or key in data:
                places[f"{at}.{name}"] = f"{old}.{key}" if key in options else f"data.{key}"
                loader[name] = options.pop(key) if key in options else data[key]
        if "shuffle" in options:
            loader["sampler"] = {"type": "DefaultSampler", "shuffle": options.pop("shuffle")}
        dataset = _dataset(converter, data.pop(part), f"{at}.dataset", f"data.{part}", places, normalizations)
        if dataset is not None:
            new[at] = {**loader, **options, "dataset": dataset}
    for key in without(data, "videos_per_gpu", "workers_per_gpu"):
        converter.report(f"data.{key}", NO_EQUIVALENT)
    if normalizations and "data_preprocessor" not in model:
        place, first = next(iter(normalizations.items()))
        model["data_preprocessor"] = first
        places["model.data_preprocessor"] = place
        for at, other in normalizations.items():
            if other != first:
                converter.report(at, f"must be equal to {place}: frames are normalised in one place, the model")


def _dataset(
    converter: Converter, table: Any, at: str, old: str, places: Places, normalizations: dict[str, Table]
) -> Any:
    if not isinstance(table, Mapping):
        converter.report(old, "must be a table; a list of datasets is not converted, use ConcatDataset")
        return None
    new = dict(table)
    if str(new.get("type")) in AUDIO:
        new["type"], suffix = AUDIO[str(new["type"])]
        new.setdefault("suffix", suffix)
    if new.get("type") == "AudioVisualDataset":  # of folders of frames; the sound is beside them
        places |= {f"{at}.dataset": old, f"{at}.audio_root": f"{old}.audio_prefix"}
        frames = {**without(new, "audio_prefix"), "type": "RawframeDataset"}
        inner = _dataset(converter, frames, f"{at}.dataset", old, places, normalizations)
        return {"type": "AudioVisualDataset", "audio_root": new.get("audio_prefix"), "dataset": inner}
    if "dataset" in new:  # RepeatDataset
        new["dataset"] = _dataset(converter, new["dataset"], f"{at}.dataset", f"{old}.dataset", places, normalizations)
    if isinstance(parts := new.get("datasets"), list):  # ConcatDataset
        new["datasets"] = [
            _dataset(converter, part, f"{at}.datasets[{i}]", f"{old}.datasets[{i}]", places, normalizations)
            for i, part in enumerate(parts)
        ]
    if isinstance(steps := new.get("pipeline"), list):
        shapes = [s.get("input_format") for s in steps if isinstance(s, Mapping) and s.get("type") == "FormatShape"]
        kept: list[Any] = []
        for i, step in enumerate(steps):
            place = f"{old}.pipeline[{i}]"
            kind = step.get("type") if isinstance(step, Mapping) else None
            if kind in PACKERS:
                converter.imply_all(step, place)
            elif kind == "Normalize":
                normalizations[place] = _preprocessor(converter, step, place, shapes)
                if step.get("adjust_magnitude"):
                    mean = step.get("mean")
                    zero = {"zero": mean[0]} if isinstance(mean, list | tuple) and mean else {}
                    places[f"{at}.pipeline[{len(kept)}]"] = place
                    kept.append({"type": "AdjustFlowMagnitude", **zero})
            else:
                places[f"{at}.pipeline[{len(kept)}]"] = place
                kept.append(_step(kind, step))
        new["pipeline"] = kept
    return new


def _preprocessor(converter: Converter, step: Mapping[str, Any], at: str, shapes: list[Any]) -> Table:
    """The network normalises. ``to_bgr`` reverses the channels of RGB frames, as ``to_rgb`` does here."""
    converter.imply(f"{at}.adjust_magnitude", step.get("adjust_magnitude"))
    options = without(step, "type", "to_bgr", "adjust_magnitude")
    layout = {"format_shape": "NCTHW"} if "NCTHW" in shapes else {}
    return {"type": "ActionDataPreprocessor", **options, "to_rgb": step.get("to_bgr", False), **layout}


def _step(kind: Any, step: Any) -> Any:
    match str(kind).partition("."):
        case ("Imgaug", "", ""):
            return {**step, "type": "ImgAug"}
        case ("FrameSelector", "", ""):
            return {**step, "type": "RawFrameDecode"}
        case ("torchvision", ".", op):
            return {**step, "type": "TorchVisionWrapper", "op": op}
        case ("pytorchvideo", ".", op):
            return {**step, "type": "PytorchVideoWrapper", "op": op}
    return step


def _loop(converter: Converter, config: Mapping[str, Any], new: Table, places: Places) -> None:
    runner = converter.table(config.get("runner"), "runner")
    kind = converter.kind(runner, "runner", "IterBasedRunner" if "total_iters" in config else "EpochBasedRunner")
    if kind not in ("EpochBasedRunner", "IterBasedRunner"):
        converter.report("runner.type", f"{kind} has no equivalent here")
    by_epoch = kind != "IterBasedRunner"
    name, total = ("max_epochs", "total_epochs") if by_epoch else ("max_iters", "total_iters")
    loop: Table = {"by_epoch": by_epoch, **without(runner, "type")}
    places["train_cfg"] = "runner"
    if config.get(total) is not None:
        if name in runner:
            converter.leave_out(total, config[total], f"runner.{name} replaces it")
        else:
            places[f"train_cfg.{name}"] = total
        loop.setdefault(name, config[total])
    new["train_cfg"] = loop


def _evaluation(converter: Converter, config: Mapping[str, Any], data: Table, new: Table, places: Places) -> None:
    """Split ``evaluation`` into metrics, when to evaluate, and what the best checkpoint is."""
    table = converter.table(config.get("evaluation"), "evaluation")
    loop = new["train_cfg"]
    for key, name in (("interval", "val_interval"), ("start", "val_begin")):
        if table.get(key) is not None:
            loop[name] = table[key]
            places[f"train_cfg.{name}"] = f"evaluation.{key}"
    if table.get("start") == 0:
        converter.leave_out("evaluation.start", "0", "set train.val_at_start")
    if table.get("by_epoch", loop["by_epoch"]) != loop["by_epoch"]:
        converter.report("evaluation.by_epoch", f"must be {loop['by_epoch']}, as in the training")
    for key in ("gpu_collect", "tmpdir", "broadcast_bn_buffer", "logger"):
        converter.leave_out(f"evaluation.{key}", table.get(key), "predictions of all processes are always collected")
    used = {"interval", "start", "by_epoch", "save_best", "key_indicator", "rule"}
    used |= {"gpu_collect", "tmpdir", "broadcast_bn_buffer", "logger"}
    scores = without(table, *used)
    for part, key in (("val", "evaluation"), ("test", "eval_config")):
        dataset = (new.get(f"{part}_dataloader") or {}).get("dataset")
        if dataset is None:
            continue
        own = converter.table(config.get(key), key) if key == "eval_config" and config.get(key) else scores
        place = "eval_config" if own is not scores else "evaluation"
        places[f"{part}_evaluator"] = place
        new[f"{part}_evaluator"] = _metrics(converter, own, dataset, place)
    why = "results are written to the run folder"
    converter.leave_out("output_config", config.get("output_config"), why)


def _metrics(converter: Converter, table: Mapping[str, Any], dataset: Any, at: str) -> list[Table]:
    table = dict(table)
    names, options = table.pop("metrics", None), table.pop("metric_options", None)
    if "topk" in table:
        options = {**converter.table(options, at), "top_k_accuracy": {"topk": table.pop("topk")}}
    for key in table:
        converter.report(f"{at}.{key}", NO_EQUIVALENT)
    while isinstance(dataset, Mapping) and isinstance(dataset.get("dataset"), Mapping):
        dataset = dataset["dataset"]
    kind = strip_scope(str(dataset.get("type"))) if isinstance(dataset, Mapping) else ""
    listed = [names] if isinstance(names, str) else names
    more = {} if options is None else {"metric_options": options}
    if kind == "SSNDataset":
        if listed not in (None, ["mAP"]):
            converter.report(f"{at}.metrics", f"must be mAP, found {names!r:.60}")
        if options not in (None, {"mAP": {"eval_dataset": "thumos14"}}):
            converter.report(f"{at}.metric_options", "must be dict(mAP=dict(eval_dataset='thumos14'))")
        return [{"type": "THUMOSMetric"}]
    if kind == "HVUDataset":
        if listed not in (None, ["mean_average_precision"]):
            converter.report(f"{at}.metrics", f"must be mean_average_precision, found {names!r:.60}")
        return [{"type": "HVUMetric", **(converter.table(options, at))}]
    if kind == "ActivityNetDataset":
        return [{"type": "ANetMetric", "metric_type": name, **more} for name in listed or ["AR@AN"]]
    return [{"type": "AccMetric", "metric_list": listed or ["top_k_accuracy"], **more}]


def _optimizer(converter: Converter, config: Mapping[str, Any], new: Table, places: Places) -> None:
    """Join ``optimizer``, ``optimizer_config`` and ``fp16`` to ``optim_wrapper``."""
    if config.get("optimizer") is None:
        return
    optimizer = converter.table(config["optimizer"], "optimizer")
    if optimizer.get("type") == "CopyOfSGD":
        optimizer["type"] = "SGD"
    wrapper: Table = {"type": "OptimWrapper"}
    for key in ("paramwise_cfg", "constructor"):
        if key in optimizer:
            wrapper[key] = optimizer.pop(key)
            places[f"optim_wrapper.{key}"] = f"optimizer.{key}"
    constructors = {"TSMOptimizerConstructor": "TSMOptimWrapperConstructor"}
    constructors["DefaultOptimizerConstructor"] = "DefaultOptimWrapperConstructor"
    if isinstance(name := wrapper.get("constructor"), str):
        wrapper["constructor"] = constructors.get(name, name)
    places |= {"optim_wrapper": "optimizer_config", "optim_wrapper.optimizer": "optimizer"}
    places["optim_wrapper.clip_grad"] = "optimizer_config.grad_clip"
    wrapper["optimizer"] = optimizer
    at = "optimizer_config"
    hook = converter.table(config.get(at), at)
    kind = converter.kind(hook, at, "OptimizerHook")
    counts = {"GradientCumulativeOptimizerHook": "cumulative_iters", "DistOptimizerHook": "update_interval"}
    if (key := counts.get(kind, "")) in hook:
        wrapper["accumulative_counts"] = hook.pop(key)
        places["optim_wrapper.accumulative_counts"] = f"{at}.{key}"
    elif kind == "Fp16OptimizerHook":
        wrapper |= {"type": "AmpOptimWrapper", "loss_scale": hook.pop("loss_scale", None)}
    elif kind not in ("OptimizerHook", *counts):
        converter.report(f"{at}.type", f"{kind} has no equivalent here")
    if hook.pop("use_fp16", False):
        wrapper["type"] = "AmpOptimWrapper"
    wrapper["clip_grad"] = hook.pop("grad_clip", None)
    converter.leave_rest(hook, at, "type")
    if (fp16 := config.get("fp16")) is not None:
        wrapper |= {"type": "AmpOptimWrapper", **converter.table(fp16, "fp16")}
        places["optim_wrapper.loss_scale"] = "fp16.loss_scale"
    new["optim_wrapper"] = wrapper


def _schedules(converter: Converter, config: Mapping[str, Any], new: Table, places: Places) -> None:
    """Convert ``lr_config``: a warm-up, which multiplies, and a schedule of the whole run; and ``momentum_config``."""
    loop = new["train_cfg"]
    found: list[Table] = []
    length = loop.get("max_epochs" if loop["by_epoch"] else "max_iters")
    for at in ("lr_config", "momentum_config"):
        table = converter.table(config.get(at), at)
        if not table:
            continue
        steps = {"by_epoch": False}
        epochs = {"by_epoch": True, "convert_to_iter_based": True} if loop["by_epoch"] else steps
        unit = ({"by_epoch": True} if loop["by_epoch"] else steps) if table.pop("by_epoch", True) else epochs
        begin = table.get("warmup_iters", 0) if table.get("policy") == "TIN" and table.get("warmup") else 0
        if begin and bool(table.get("warmup_by_epoch")) != loop["by_epoch"]:
            converter.report(f"{at}.warmup_by_epoch", f"must be {loop['by_epoch']} with TIN, like the training")
            begin = 0
        schedules = [_warmup(converter, table, at, epochs, steps)]
        main = _policy(converter, table, length, at, begin)
        schedules.append(main and {**main, **unit})
        for schedule in filter(None, schedules):
            if at == "momentum_config":
                schedule["type"] = f"{schedule['type'].removesuffix('LR')}Momentum"
            places[f"param_scheduler[{len(found)}]"] = at
            found.append(schedule)
    new["param_scheduler"] = found


def _warmup(converter: Converter, table: Table, at: str, epochs: Table, steps: Table) -> Table | None:
    kind = table.pop("warmup", None)
    usual = {"iters": 0, "ratio": 0.1, "by_epoch": False}
    given = {key: table.pop(f"warmup_{key}", value) for key, value in usual.items()}
    match kind:
        case "linear":
            ratio = {"type": "LinearLR", "start_factor": given["ratio"]}
        case "constant":
            ratio = {"type": "ConstantLR", "factor": given["ratio"]}
        case None:
            return None
        case _:
            converter.report(f"{at}.warmup", f"must be linear or constant, found {kind!r:.60}")
            return None
    return {**ratio, "end": given["iters"], **(epochs if given["by_epoch"] else steps)}


def _policy(converter: Converter, table: Table, length: Any, at: str, begin: int) -> Table | None:
    """Convert a policy; options have other names, the length of the run may be one, and that of the warm-up for TIN."""
    policy = table.pop("policy", None)
    value = "lr" if at == "lr_config" else "momentum"
    for old, name in ((f"min_{value}", "eta_min"), (f"min_{value}_ratio", "eta_min_ratio")):
        if old in table:
            table[name] = table.pop(old)
    match policy:
        case "fixed":
            converter.leave_rest(table, at)
            return None
        case "step":
            steps = table.pop("step", None)
            if isinstance(steps, list):
                return {"type": "MultiStepLR", "milestones": steps, **table}
            return {"type": "StepLR", "step_size": steps, **table}
        case "TIN" if isinstance(length, int):  # begins after the warm-up, as in published configurations of 1.x
            return {"type": "CosineAnnealingLR", "begin": begin, "T_max": length - begin, "end": length, **table}
        case "CosineAnnealing":
            return {"type": "CosineAnnealingLR", "T_max": length, "end": length, **table}
        case "FlatCosineAnnealing" if isinstance(length, int):
            begin = round(table.pop("start_percent", 0.75) * length)
            return {"type": "CosineAnnealingLR", "begin": begin, "T_max": length - begin, "end": length, **table}
        case "poly":
            return {"type": "PolyLR", "end": length, **table}
        case "exp":
            return {"type": "ExponentialLR", **table}
        case "CosineRestart":
            return {"type": "CosineRestartLR", **table}
        case "OneCycle":
            return {"type": "OneCycleLR", **without(table, "max_lr"), "eta_max": table.get("max_lr")}
        case "LinearAnnealing" if "eta_min_ratio" in table:
            factor = table.pop("eta_min_ratio")
            return {"type": "LinearLR", "start_factor": 1.0, "end_factor": factor, "end": length, **table}
    converter.report(f"{at}.policy", f"{policy!r:.60} is not converted; see the schedules in vidcore list schedules")
    return None


def _hooks(converter: Converter, config: Mapping[str, Any], new: Table, places: Places) -> None:
    """Convert ``checkpoint_config``, ``log_config`` and ``precise_bn`` to hooks and back ends of visualisation."""
    evaluation = converter.table(config.get("evaluation"), "evaluation")
    checkpoint = converter.table(config.get("checkpoint_config"), "checkpoint_config")
    for key in ("key_indicator", "save_best"):
        if evaluation.get(key) is not None:
            checkpoint["save_best"] = _best(converter, evaluation[key], f"evaluation.{key}")
            places["default_hooks.checkpoint.save_best"] = f"evaluation.{key}"
    if evaluation.get("rule") is not None:
        checkpoint["rule"] = evaluation["rule"]
        places["default_hooks.checkpoint.rule"] = "evaluation.rule"
    log = converter.table(config.get("log_config"), "log_config")
    hooks = log.pop("hooks", None) or []
    new["default_hooks"] = {"checkpoint": checkpoint, "logger": log}
    places |= {"default_hooks.checkpoint": "checkpoint_config", "default_hooks.logger": "log_config"}
    backends = []
    for i, hook in enumerate(hooks if isinstance(hooks, list) else [hooks]):
        table = converter.table(hook, f"log_config.hooks[{i}]")
        backends.append({**table, "type": LOGGERS.get(str(table.get("type")), table.get("type"))})
        places[f"vis_backends[{i}]"] = f"log_config.hooks[{i}]"
    new["vis_backends"] = backends
    hooks = config.get("custom_hooks") or []
    if config.get("precise_bn") is not None and isinstance(hooks, list):
        places[f"custom_hooks[{len(hooks)}]"] = "precise_bn"
        hooks = [*hooks, {"type": "PreciseBNHook", **converter.table(config["precise_bn"], "precise_bn")}]
    new["custom_hooks"] = hooks


def _best(converter: Converter, name: Any, at: str) -> Any:
    """Convert the old name of a score: ``top5_acc`` is ``acc/top5`` now."""
    if isinstance(name, str) and name.startswith("top") and name.endswith("_acc"):
        return f"acc/{name.removesuffix('_acc')}"
    if not isinstance(name, str) or name not in BEST:
        converter.report(at, f"must be topN_acc or one of {', '.join(BEST)}, found {name!r:.60}")
        return "auto"
    return BEST[name]


def _machine(converter: Converter, config: Mapping[str, Any], new: Table, places: Places) -> None:
    processes = {key: config[key] for key in ("mp_start_method", "opencv_num_threads") if config.get(key) is not None}
    environment = {"dist_cfg": converter.table(config.get("dist_params"), "dist_params"), "mp_cfg": processes}
    new["env_cfg"] = {**environment, "cudnn_benchmark": config.get("cudnn_benchmark")}
    new["randomness"] = {key: config.get(key) for key in ("seed", "deterministic")}
    places |= {"env_cfg.dist_cfg": "dist_params", "env_cfg.cudnn_benchmark": "cudnn_benchmark"}
    places |= {f"env_cfg.mp_cfg.{key}": key for key in processes}
    places |= {f"randomness.{key}": key for key in ("seed", "deterministic")}
    converter.leave_out("resume_from", config.get("resume_from"), "use vidcore run --resume-from")
    converter.leave_out("gpu_ids", config.get("gpu_ids"), "start processes with torchrun")
    if config.get("workflow") == [["train", 1]]:
        converter.imply("workflow", config["workflow"])
    else:
        converter.leave_out("workflow", config.get("workflow"), "use train.val_loss for losses of the validation data")
    for key in ("omnisource", "train_ratio"):
        if config.get(key) not in (None, False):
            why = "several training loaders are not converted: their batches were steps of their own"
            converter.report(key, f"{why}; use data.train_extra")
