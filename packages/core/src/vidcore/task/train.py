"""From a Task to a trained and evaluated model: what ``vidcore run`` does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import asdict

from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.engine import dist
from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.evaluate import evaluate
from vidcore.engine.fit import fit
from vidcore.engine.observers import JsonLines, Observers
from vidcore.engine.options import TrainOptions
from vidcore.engine.plan import shortfalls
from vidcore.engine.progress import deciding
from vidcore.engine.weights import load_weights
from vidcore.errors import DataError
from vidcore.protocols import Metric, Observer
from vidcore.task.context import Setting
from vidcore.task.report import coverage, evaluated, finish, header, notices, overlaps
from vidcore.task.task import Task

__all__ = ["train"]

EVALUATING = ("early_stop", "best", "best_rule", "val_loss", "precise_bn")
"""Options of ``[train]`` that matter where the model is evaluated."""


@dist.then_leave
def train(
    task: Task, run_dir: Path | None = None, resume: bool = False, observers: Sequence[Observer] = ()
) -> dict[str, Any]:
    """Train the model of a Task, evaluate the best weights, and write everything into a run folder.

    Args:
        task: with at least ``data.train`` and ``optimizer``.
        run_dir: where to write; else ``runtime.run_dir``, else ``runs/<task name>``.
        resume: continue the run in that folder; without it, a folder that holds a run is refused.
        observers: told what happens, beside those of the Task.

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
    also = {name: setting.loader(f"train_extra.{name}", folder) for name in task.get("data.train_extra") or ()}
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
    watching = [*observers, JsonLines(), *task.build("observers").values()] if setting.rank == 0 else []
    tell = Observers(watching)

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
        folder=folder.path,
        also=also,
        statistics=statistics,
        validate=validate if validates else None,
        observers=watching,
        about={"task": task.name, "class_names": list(class_names) if class_names else None},
    )
    for loader in (loaders["train"], *also.values()):
        loader.close()
    if fitted.stopped_early:
        best_so_far = f"{fitted.best['score']} {fitted.best['value']:.4g} of epoch {fitted.best['epoch']}"
        setting.say(f"stopped early: {best_so_far} was not reached again")
    training = asdict(fitted) | {"data": coverage(loaders["train"])}
    for observer in watching:
        training |= observer.report()
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
        written = [folder.task, folder.metrics, *(path for o in watching for path in o.files()), best]
        finish(folder.path, report, metrics if part else {}, written)
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
