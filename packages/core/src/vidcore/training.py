"""``vidcore run`` and ``vidcore test`` as functions: ``vidcore.train`` and ``vidcore.test``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vidcore.config.references import references
from vidcore.errors import UserError
from vidcore.plugins.catalog import Catalog, load_plugins
from vidcore.protocols import Observer
from vidcore.task.evaluate import evaluate_checkpoint
from vidcore.task.stages import run_job, run_stages
from vidcore.task.task import Task
from vidcore.task.train import train as train_model
from vidcore.tools.advice import LoadingAdvice
from vidcore.tools.console import Console
from vidcore.tools.curves import Curves
from vidcore.tools.fetch import obtain, weights_for
from vidcore.weights.mirrors import mirrors
from vidcore.weights.places import locate
from vidcore.weights.published import by_name

__all__ = ["test", "train"]


def train(
    task: Task | str | Path,
    folder: str | Path | None = None,
    *,
    resume: bool = False,
    resume_from: str | Path | None = None,
    observers: Sequence[Observer] = (),
    overrides: Sequence[str] = (),
    catalog: Catalog | None = None,
) -> dict[str, Any]:
    """Train and evaluate the model of a Task, or run its stages or its job, exactly as ``vidcore run`` does.

    Args:
        task: a Task, or its path, or the name of a recipe.
        folder: of the run; default: ``runtime.run_dir``, then ``runs/<task name>``.
        resume: resume the run in that folder from its last checkpoint or stage.
        resume_from: checkpoint of another folder to resume from, if ``folder`` holds none.
        observers: called during the run, in addition to those of the Task.
        overrides: ``KEY=VALUE`` strings, as in ``--set``.
        catalog: installed components; default: ``load_plugins()``.

    Returns:
        The content of ``report.json``; empty for a job.

    Raises:
        UserError: the Task, its data or the folder is not valid.
    """
    task = _loaded(task, overrides, catalog)
    run_dir, source = _path(folder), _path(resume_from)
    for stage in task.stages.values() or [task]:
        _obtain_weights(stage)
    console = Console()
    watching = [console, LoadingAdvice(console.say), Curves(), *observers]
    if source and (task.stages or task.get("job")):
        raise UserError(f"{task.name}: only the run of one model can resume from a checkpoint of another folder")
    if task.stages:
        return run_stages(task, run_dir, resume, watching)
    if task.get("job"):
        run_job(task, run_dir)
        return {}
    return train_model(task, run_dir, resume, watching, source)


def test(
    task: Task | str | Path,
    checkpoint: str | Path | None = None,
    folder: str | Path | None = None,
    *,
    dump: str | Path | None = None,
    observers: Sequence[Observer] = (),
    overrides: Sequence[str] = (),
    catalog: Catalog | None = None,
) -> dict[str, Any]:
    """Evaluate a checkpoint on the test data of a Task, exactly as ``vidcore test`` does.

    Args:
        task: a Task, or its path, or the name of a recipe.
        checkpoint: from a run, or published, or a recipe with published weights; default: those of the Task, if it
            is a recipe or a release.
        folder: for the report; default: ``runs/<task name>-test``.
        dump: file for the predictions (``.npz``).
        observers: called with the progress.
        overrides: ``KEY=VALUE`` strings, as in ``--set``.
        catalog: installed components; default: ``load_plugins()``.

    Returns:
        The content of ``report.json``.

    Raises:
        UserError: the Task, its data or the checkpoint is not valid.
    """
    task = _loaded(task, overrides, catalog)
    return evaluate_checkpoint(task, weights_for(task, checkpoint), _path(folder), _path(dump), [Console(), *observers])


test.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it where it is imported


def _loaded(task: Task | str | Path, overrides: Sequence[str], catalog: Catalog | None) -> Task:
    return task if isinstance(task, Task) else Task.load(task, catalog or load_plugins(), overrides)


def _obtain_weights(task: Task) -> None:
    """Download weights that ``[train]`` names and that are not on this machine, if a mirror is configured."""
    given = task.build("train").weights if mirrors() and not references(task.table.get("train")) else None
    for path in given.values() if isinstance(given, dict) else [given] if given else []:
        if locate(path, task.catalog) is None and by_name(path.name, task.catalog):
            obtain(path, task.catalog, "train.weights")


def _path(name: str | Path | None) -> Path | None:
    return None if name is None else Path(name)
