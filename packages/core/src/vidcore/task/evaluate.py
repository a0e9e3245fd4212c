"""Evaluate a checkpoint on the test data of a Task: ``vidcore test``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from vidcore.engine import dist
from vidcore.engine.evaluate import evaluate
from vidcore.engine.observers import Observers
from vidcore.engine.prepare import prepare, prepare_inference
from vidcore.engine.weights import load_weights
from vidcore.errors import UserError
from vidcore.locks import make_folder
from vidcore.metrics import DumpPredictions, Mistakes
from vidcore.protocols import Metric, Observer
from vidcore.task.context import RunContext
from vidcore.task.label_checks import check_labels
from vidcore.task.notes import data_notes
from vidcore.task.report import MISTAKES, evaluation_fields, finish, header
from vidcore.task.run_folder import RunFolder
from vidcore.task.task import Task
from vidcore.weights.places import is_published

__all__ = ["evaluate_checkpoint"]


def evaluate_checkpoint(
    task: Task,
    checkpoint: Path,
    run_dir: Path | None = None,
    dump: Path | None = None,
    observers: Sequence[Observer] = (),
    also: Mapping[str, Metric] | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on the test data of a Task, or else on its validation data.

    Args:
        task: has ``metrics``, and ``data.test`` or ``data.val``.
        checkpoint: from a run, or published.
        run_dir: folder for the report and pictures; default: ``runs/<task name>-test``.
        dump: file for the predictions (``.npz``), to be scored again or fused later.
        observers: called with the progress.
        also: metrics beside those of the Task.

    Returns:
        The content of ``report.json``.
    """
    part = "test" if task.get("data.test") else "val"
    task.require(f"data.{part}", *(() if task.get(f"data.{part}.metrics") else ("metrics",)))
    path = run_dir or Path("runs") / f"{task.name}-test"
    if RunFolder(path).task.exists():
        raise UserError(f"{path}: holds a run, whose report would be overwritten; choose another folder")
    with (
        RunContext.open(task) as context,  # its model is freed before the group ends
        RunFolder(path).claim() if context.rank == 0 else nullcontext(),
    ):
        return _evaluate(context, part, checkpoint, path, dump, observers, also or {})


def _evaluate(
    context: RunContext,
    part: str,
    checkpoint: Path,
    path: Path,
    dump: Path | None,
    observers: Sequence[Observer],
    also: Mapping[str, Metric],
) -> dict[str, Any]:
    task = context.task
    for folder in (path, *([dump.parent] if dump else [])):  # before an evaluation that may take hours
        make_folder(folder)
    if context.rank == 0:
        RunFolder(path).forget_bad_samples()
    dist.broadcast(None)  # the other ranks wait for that
    model = task.build("model")
    loader = context.loader(part, RunFolder(path), model)
    context.notes.add(*data_notes({part: loader.dataset}))
    prefix = task.get("train.weights_prefix") or ""
    about = load_weights(model, checkpoint, prefix, is_published(checkpoint, task.catalog))
    task.catalog.compare_files(about.get("plugins"), str(checkpoint))
    model = prepare(prepare_inference(model, context.runtime, context.device), context.runtime, context.device)
    metrics = {**task.metrics(part), MISTAKES: Mistakes(), **also}
    check_labels(task, {"model": model, **{f"metrics.{name}": metric for name, metric in metrics.items()}})
    for metric in metrics.values():
        metric.use(about)
    if dump is not None:
        metrics = {**metrics, "dump": DumpPredictions(str(dump.absolute()))}
    notify = Observers(observers if context.rank == 0 else [])
    notify.on_start(path, {"steps": 0, "steps_per_epoch": 1, "resumed_step": 0, "parameters": 0})
    with notify.reporting_failure():
        found = evaluate(model, loader, metrics, context.runtime.precision, notify.on_progress)
    report = header(task, model) | {"weights": str(checkpoint)}
    report |= evaluation_fields(task, part, loader, found)
    context.notes.add(*loader.bad.notes())
    notify.on_end(report | {"notes": context.notes.lines})
    if context.rank == 0:
        finish(path, report, metrics, [loader.bad.path] if loader.bad.path else [], context.notes)
    return report
