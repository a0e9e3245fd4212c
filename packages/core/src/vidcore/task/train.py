"""Train and evaluate the model of a Task: ``vidcore run``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import asdict

from vidcore.data.labels import SampleClasses
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.data.pool.training import TrainingData
from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.evaluate import evaluate
from vidcore.engine.fit import fit
from vidcore.engine.history import selection_scores
from vidcore.engine.observers import JsonLines, Observers
from vidcore.engine.options import TrainOptions
from vidcore.engine.schedule_notes import schedule_notes
from vidcore.engine.schedules import ReduceOnPlateauLR, Schedule
from vidcore.engine.step import Step
from vidcore.engine.weights import load_weights
from vidcore.errors import ConfigError, DataError, UserError
from vidcore.metrics import Mistakes
from vidcore.nn import Model
from vidcore.protocols import Dataset, Metric, Observer
from vidcore.task.context import RunContext
from vidcore.task.label_checks import check_labels
from vidcore.task.log import RunLog, logging_to
from vidcore.task.notes import BadSampleNotes, data_notes
from vidcore.task.report import MISTAKES, coverage, evaluation_fields, finish, header
from vidcore.task.run_folder import RunFolder
from vidcore.task.sides import flip_notes
from vidcore.task.task import Task

__all__ = ["check_class_names", "train"]

VALIDATION_OPTIONS = ("early_stop", "best", "best_rule", "val_begin", "val_at_start", "val_loss", "precise_bn")
"""Options of ``[train]`` that require evaluations during training."""


def train(
    task: Task,
    run_dir: Path | None = None,
    resume: bool = False,
    observers: Sequence[Observer] = (),
    resume_from: Path | None = None,
) -> dict[str, Any]:
    """Train the model of a Task, evaluate the best weights, and write everything to a run folder.

    Args:
        task: has at least ``data.train`` and ``optimizer``.
        run_dir: where to write; default: ``runtime.run_dir``, then ``runs/<task name>``.
        resume: resume the run in that folder; without it, a folder that holds a run is refused.
        observers: called during the run, in addition to those of the Task.
        resume_from: checkpoint of another folder to resume from, if this one holds no checkpoint.

    Returns:
        The content of ``report.json``.

    Raises:
        UserError: the Task, its data or the folder is not valid.
    """
    task.require("data.train", "optimizer")
    with RunContext.open(task) as context:
        return _train(context, run_dir, resume, observers, resume_from)  # frees its models before the group ends


def _train(
    context: RunContext, run_dir: Path | None, resume: bool, observers: Sequence[Observer], resume_from: Path | None
) -> dict[str, Any]:
    folder = context.run_folder(run_dir, resume)
    with logging_to(folder.log(context.rank)):
        return _train_in(folder, context, resume, observers, resume_from)


def _train_in(
    folder: RunFolder,
    context: RunContext,
    resume: bool,
    observers: Sequence[Observer],
    resume_from: Path | None,
) -> dict[str, Any]:
    task, precision = context.task, context.runtime.precision
    resumed = resume_from is not None or (resume and folder.started)
    options: TrainOptions = task.build("train")
    model = context.model(options, resumed)
    parts = [part for part in ("train", "val", "test") if task.get(f"data.{part}")]
    loaders = {part: context.loader(part, folder, model) for part in parts}
    extra = {name: context.loader(f"train_extra.{name}", folder, model) for name in task.get("data.train_extra") or ()}
    check_class_names({part: loader.dataset.class_names for part, loader in loaders.items()})
    statistics = context.loader("train", folder, model, "statistics") if options.precise_bn else None
    data = TrainingData(loaders["train"], extra, statistics)
    optimizer = context.optimizer(model, options, data.main, resumed)
    metrics = {part: task.metrics(part) for part in parts if part != "train"}
    places = {part: f"data.{part}.metrics" if task.get(f"data.{part}.metrics") else "metrics" for part in metrics}
    measured = {f"{places[part]}.{name}": metric for part, own in metrics.items() for name, metric in own.items()}
    if said := check_labels(task, {"model": model, **measured}):
        context.say(said)
    if task.get("data.balance") == "loss":
        context.say(_weight_classes(model, data.main.dataset))
    schedules = task.build("schedule") or {}
    validates = "val" in loaders and bool(metrics["val"] or options.val_loss)
    per_epoch = options.steps_per_epoch(len(data))
    named = loaders | {f"train_extra.{name}": loader for name, loader in extra.items()}
    datasets = {part: loader.dataset for part, loader in named.items()}
    notes = context.notes
    notes.add(*ignored_options(options, loaders, validates, schedules))
    rate = max(group["lr"] for group in optimizer.param_groups)
    notes.add(*schedule_notes(schedules, per_epoch, options.total_steps(per_epoch), rate))
    notes.add(*data_notes(datasets))
    trained = {part: dataset.class_names for part, dataset in datasets.items() if part.startswith("train")}
    notes.add(*flip_notes(task, trained))
    own = [JsonLines(), RunLog(), BadSampleNotes(named.values(), notes)]
    watching = [*observers, *own, *task.build("observers").values()] if context.rank == 0 else []
    notify = Observers(watching)

    kept: dict[str, Any] = {}

    def validate() -> Mapping[str, float]:
        validation = evaluate(
            model, loaders["val"], metrics["val"], precision, notify.on_progress, losses=options.val_loss
        )
        kept.clear()
        kept.update(validation.kept)
        return validation.scores

    if not resumed or folder.changed:
        if tried := [f"data.{part}" for part in ("val", "test") if part in loaders and metrics[part]]:
            context.say(f"trying one batch of {' and '.join(tried)}")
        dry_run_evaluation(model, loaders, metrics, options, schedules.values(), precision)
    class_names = data.main.dataset.class_names
    about = {"task": task.name, "class_names": list(class_names) if class_names else None}
    result = fit(
        Step(model, optimizer, options, context.runtime),
        data,
        folder.path,
        schedules.values(),
        validate=validate if validates else None,
        kept=lambda: kept,
        observers=watching,
        about=about | ({"plugins": task.catalog.files} if task.catalog.files else {}),
        resume_from=resume_from,
    )
    data.close()
    if result.stopped_early:
        best_so_far = f"{result.best['score']} {result.best['value']:.4g} in epoch {result.best['epoch']}"
        context.say(f"stopped early: no improvement on {best_so_far}")
    training = asdict(result) | {"data": coverage(data.main)}
    for observer in watching:
        training |= observer.report()
    report = header(task, model) | {"training": training}
    part = next((p for p in ("test", "val") if p in loaders), None)
    best = Checkpoints(folder.checkpoints).best
    with notify.reporting_failure():
        if part and metrics[part]:
            if best.exists():
                about_best = load_weights(model, best)
                report["weights"] = str(best)
                for metric in metrics[part].values():
                    metric.use(about_best)
            context.say(f"evaluating {'the best' if best.exists() else 'the last'} weights on data.{part}")
            metrics[part] = {**metrics[part], MISTAKES: Mistakes()}
            found = evaluate(model, loaders[part], metrics[part], precision, notify.on_progress)
            report |= evaluation_fields(task, part, loaders[part], found)
        bad = [loader.bad for loader in named.values()]
        notes.add(*(note for samples in bad for note in samples.notes()))
        notify.on_end(report | {"notes": notes.lines})
    if context.rank == 0:
        written = [folder.task, folder.metrics, *(path for o in watching for path in o.files()), best]
        written += [samples.path for samples in bad if samples.path]
        finish(folder.path, report, metrics[part] if part else {}, written, notes)
    return report


def _weight_classes(model: Model, dataset: Dataset) -> str:
    """Weight the classes in the loss by their number of samples; return a sentence about it."""
    classes = SampleClasses.of(dataset)
    if classes is None:
        raise DataError(
            f'data.balance: "loss" needs a dataset that knows its labels, and {type(dataset).__name__} does not'
        )
    try:
        return f'data.balance = "loss": {model.weight_classes(torch.from_numpy(classes.totals), len(dataset))}'
    except UserError as error:
        raise ConfigError(f'data.balance: "loss": {error}') from None


def check_class_names(names: Mapping[str, tuple[str, ...] | None]) -> None:
    """Raise ``DataError`` if the class names of a part differ from those of ``train``."""
    for part, theirs in names.items():
        if theirs != names["train"] and theirs and names["train"]:
            differ = sorted(set(theirs) ^ set(names["train"])) or ["their order"]
            raise DataError(
                f"data.{part}.dataset: its classes differ from those of data.train in {', '.join(differ[:5])}; "
                "list the classes of both in one file and set data.classes to it"
            )


def dry_run_evaluation(
    model: Model,
    loaders: Mapping[str, Loader],
    metrics: Mapping[str, Mapping[str, Metric]],
    options: TrainOptions,
    schedules: Iterable[Schedule | ReduceOnPlateauLR],
    precision: str,
) -> None:
    """Evaluate one batch, so that a mistake in validation data or metrics does not cost an epoch of training."""
    for part in ("val", "test"):
        losses = part == "val" and options.val_loss
        if part in loaders and (metrics[part] or losses):
            tried = evaluate(model, loaders[part], metrics[part], precision, losses=losses, batches=1)
            loaders[part].close()
            if part == "val" and tried.scores:
                selection_scores(options, tried.scores)
                for plateau in schedules:
                    if isinstance(plateau, ReduceOnPlateauLR):
                        plateau.reductions([(0, tried.scores)])


def ignored_options(
    options: TrainOptions,
    loaders: Mapping[str, Loader],
    validates: bool,
    schedules: Mapping[str, Schedule | ReduceOnPlateauLR],
) -> list[str]:
    """Return a note for each option of the Task that has no effect in this run."""
    given = [] if validates else [n for n in VALIDATION_OPTIONS if getattr(options, n) != getattr(TrainOptions(), n)]
    keys = [f"train.{name}" for name in given]
    keys += [f"schedule.{n}" for n, s in schedules.items() if isinstance(s, ReduceOnPlateauLR) and not validates]
    notes = [f"{key}: has no effect without evaluations during training: set data.val and metrics" for key in keys]
    if options.accumulate > (batches := len(loaders["train"])):
        notes.append(f"train.accumulate: a step is at most an epoch, which has {batches} batches")
    for part, loader in loaders.items():
        if loader.options.time_limit != LoaderOptions().time_limit and not loader.options.workers:
            notes.append(f"data.{part}.time_limit: has no effect with data.{part}.workers = 0")
    return notes
