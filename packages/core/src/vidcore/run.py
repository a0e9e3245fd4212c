"""From a Task to a trained and evaluated model: what ``vidcore run`` and ``vidcore test`` do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import asdict

from vidcore.config.task import Task
from vidcore.data.loader import Loader
from vidcore.engine import dist
from vidcore.engine.advice import LoadingAdvice
from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.curves import draw_curves
from vidcore.engine.evaluate import evaluate
from vidcore.engine.fit import fit
from vidcore.engine.observers import Console, JsonLines, Observers
from vidcore.engine.options import LoaderOptions, TrainOptions
from vidcore.engine.plan import shortfalls
from vidcore.engine.prepare import prepare
from vidcore.engine.progress import deciding
from vidcore.engine.rundir import RunFolder
from vidcore.engine.weights import load_weights
from vidcore.errors import DataError, UserError
from vidcore.interfaces import Metric
from vidcore.predictions import DumpPredictions
from vidcore.report import coverage, evaluated, finish, header, notices, overlaps
from vidcore.setting import Setting

__all__ = ["evaluate_checkpoint", "train"]

EVALUATING = ("early_stop", "best", "best_rule", "val_loss", "precise_bn")
"""Options of ``[train]`` that matter where the model is evaluated."""


@dist.then_leave
def train(task: Task, run_dir: Path | None = None, resume: bool = False) -> dict[str, Any]:
    """Train the model of a Task, evaluate the best weights, and write everything into a run folder.

    Args:
        task: with at least ``data.train`` and ``optimizer``.
        run_dir: where to write; else ``runtime.run_dir``, else ``runs/<task name>``.
        resume: continue the run in that folder; without it, a folder that holds a run is refused.

    Returns:
        What ``report.json`` holds.

    Raises:
        UserError: anything of the Task, its data or the folder is wrong.
    """
    task.require("data.train", "optimizer")
    setting = Setting.of(task)
    folder = setting.run_folder(run_dir, resume)
    options: TrainOptions = task.build("train")
    loaders = {part: setting.loader(part, folder) for part in ("train", "val", "test") if task.get(f"data.{part}")}
    also = {name: setting.loader(f"train_also.{name}", folder) for name in task.get("data.train_also") or ()}
    _check_names({part: loader.dataset.class_names for part, loader in loaders.items()})
    statistics = setting.loader("train", folder, "statistics") if options.precise_bn else None
    started = resume and folder.started
    model = setting.model(options, started)
    scale = 1.0 if started else setting.lr_scale(options, loaders["train"])  # a checkpoint has the rates
    optimizer = setting.optimizer(model, scale)
    metrics = task.build("metrics")
    validates = "val" in loaders and bool(metrics or options.val_loss)
    schedules = task.build("schedule") or {}
    per_epoch = options.steps_per_epoch(len(loaders["train"]))
    remarks = _idle(options, loaders, validates)
    remarks += overlaps(loaders)
    remarks += shortfalls(schedules, per_epoch, options.total_steps(per_epoch))
    for remark in remarks:
        setting.say(f"note: {remark}")
    console = Console()
    loading = LoadingAdvice(loaders["train"], console.say)
    observers = [console, JsonLines(), loading, *task.build("observers").values()]
    tell = Observers(observers if setting.rank == 0 else [])

    def validate() -> Mapping[str, float]:
        precision = setting.runtime.precision
        return evaluate(model, loaders["val"], metrics, precision, tell.on_progress, losses=options.val_loss).scores

    if not started or folder.changed:
        _try_out(model, loaders, metrics, options, setting.runtime.precision)
    class_names = loaders["train"].dataset.class_names
    fitted = fit(
        model,
        loaders["train"],
        optimizer,
        schedules.values(),
        options,
        setting.runtime,
        run=folder,
        also=also,
        statistics=statistics,
        validate=validate if validates else None,
        observers=observers,
        about={"task": task.name, "class_names": list(class_names) if class_names else None},
    )
    for loader in (loaders["train"], *also.values()):
        loader.close()
    if fitted.stopped_early:
        best_so_far = f"{fitted.best['score']} {fitted.best['value']:.4g} of epoch {fitted.best['epoch']}"
        setting.say(f"stopped early: {best_so_far} was not reached again")
    training = asdict(fitted) | {"data": coverage(loaders["train"]), "loading": loading.report()}
    report = header(task, model) | {"training": training, "notices": remarks + notices(loaders)}
    part = next((p for p in ("test", "val") if p in loaders), None)
    best = Checkpoints(folder.checkpoints).best
    with tell.watching():
        if part and metrics:
            if best.exists():
                load_weights(model, best)
                report["weights"] = str(best)
            found = evaluate(model, loaders[part], metrics, setting.runtime.precision, tell.on_progress)
            report |= evaluated(task, part, loaders[part], found)
        tell.on_end(report)
    if setting.rank == 0:
        curves = draw_curves(folder.metrics, folder.path / "curves.png")
        written = [folder.task, folder.metrics, *([curves] if curves else []), best]
        finish(folder.path, report, metrics if part else {}, written)
    return report


@dist.then_leave
def evaluate_checkpoint(
    task: Task, checkpoint: Path, run_dir: Path | None = None, dump: Path | None = None
) -> dict[str, Any]:
    """Evaluate a checkpoint on the test data of a Task (its validation data where it has no other).

    Args:
        task: with ``data.test`` or ``data.val``, and ``metrics``.
        checkpoint: of a run, or published.
        run_dir: where to write the report and pictures; else ``runs/<task name>-test``.
        dump: file for the predictions (``.npz``), to be scored again or fused later.

    Returns:
        What ``report.json`` holds.
    """
    part = "test" if task.get("data.test") else "val"
    task.require(f"data.{part}", "metrics")
    setting = Setting.of(task)
    path = run_dir or Path("runs") / f"{task.name}-test"
    if RunFolder(path).task.exists():
        raise UserError(f"{path}: holds a run, whose report would be lost; choose another folder")
    for folder in (path, *([dump.parent] if dump else [])):  # an evaluation may take hours
        folder.mkdir(parents=True, exist_ok=True)
    loader = setting.loader(part, RunFolder(path))
    model = task.build("model")
    load_weights(model, checkpoint)
    model = prepare(model, setting.runtime, setting.device)
    metrics = task.build("metrics")
    if dump is not None:
        metrics = {**metrics, "dump": DumpPredictions(str(dump.absolute()))}
    console = Observers([Console()] if setting.rank == 0 else [])
    console.on_start(path, {"steps": 0, "steps_per_epoch": 1, "resumed_step": 0, "parameters": 0})
    with console.watching():
        found = evaluate(model, loader, metrics, setting.runtime.precision, console.on_progress)
    report = header(task, model) | {"weights": str(checkpoint), "notices": notices({part: loader})}
    report |= evaluated(task, part, loader, found)
    console.on_end(report)
    if setting.rank == 0:
        finish(path, report, metrics, [])
    return report


def _check_names(names: Mapping[str, tuple[str, ...] | None]) -> None:
    """Names inferred from two lists differ where one lacks a class: class 3 would be another in validation."""
    for part, theirs in names.items():
        if theirs != names["train"] and theirs and names["train"]:
            differ = sorted(set(theirs) ^ set(names["train"])) or ["their order"]
            raise DataError(
                f"data.{part}.dataset: its classes differ from those of data.train in {', '.join(differ[:5])}; "
                "list the classes of both in a file and name it in data.classes"
            )


def _try_out(
    model: Any, loaders: Mapping[str, Loader], metrics: Mapping[str, Metric], options: TrainOptions, precision: str
) -> None:
    """Evaluate on one batch: what is wrong with the other data, or the metrics, must not wait for a whole epoch."""
    for part in ("val", "test"):
        losses = part == "val" and options.val_loss
        if part in loaders and (metrics or losses):
            tried = evaluate(model, loaders[part], metrics, precision, losses=losses, batches=1)
            loaders[part].close()
            if part == "val" and tried.scores:
                deciding(options, tried.scores)


def _idle(options: TrainOptions, loaders: Mapping[str, Loader], validates: bool) -> list[str]:
    """What the Task asks for and this run cannot do."""
    asked = [] if validates else [n for n in EVALUATING if getattr(options, n) != getattr(TrainOptions(), n)]
    remarks = [f"train.{n}: does nothing without evaluations while training: give data.val and metrics" for n in asked]
    if options.accumulate > (batches := len(loaders["train"])):
        remarks.append(f"train.accumulate: a step takes no more than an epoch, which has {batches} batches")
    for part, loader in loaders.items():
        if loader.options.time_limit != LoaderOptions().time_limit and not loader.options.workers:
            remarks.append(f"data.{part}.time_limit: needs workers, and data.{part}.workers is 0")
    return remarks
