"""Publish a trained model as one file that works alone: ``vidcore publish``."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save

from vidcore.config.signature import read_signature
from vidcore.data.thresholds import THRESHOLDS, thresholds_beside_weights
from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.weights import load_state, read_weights
from vidcore.errors import ConfigError, UserError
from vidcore.files import atomic_write, dump_json, parse_json, to_jsonable
from vidcore.plugins.catalog import Catalog
from vidcore.task.classes import components
from vidcore.task.names import known_names
from vidcore.task.reference import CLIP, installed_versions, reference_scores
from vidcore.task.release import FORMAT, SUFFIX, Release, kept_table
from vidcore.task.report import call_text
from vidcore.task.run_folder import RunFolder
from vidcore.task.task import Task
from vidcore.transforms.views import input_contract
from vidcore.weights.places import is_published

__all__ = ["deployed", "publish", "publish_run"]


def publish(
    task: Task,
    checkpoint: Path,
    folder: Path,
    reports: Sequence[Path] = (),
    license_name: str | None = None,
    published_scores: Mapping[str, float] | None = None,
    deploy: bool = False,
) -> Path:
    """Write a release file: the weights of a checkpoint, and all that ``Predictor`` needs to use them.

    The file is called ``<task>-<first 8 hex digits of its SHA-256>.safetensors``; readers check that hash. Its metadata
    is JSON under ``vidcore``; see ``_metadata``.

    Args:
        task: model and test pipeline of the checkpoint.
        checkpoint: weights of a run, or published ones.
        folder: where to write the file.
        reports: ``report.json`` of evaluations of this checkpoint.
        license_name: of the weights, such as ``CC-BY-4.0``.
        published_scores: what those who published the weights have measured.
        deploy: write the model in its form for inference; see ``deployed``.

    Raises:
        CheckpointError: the checkpoint cannot be read or does not fit.
        UserError: the model or its pipeline requires other files, or a report belongs to a different checkpoint.
    """
    for path in reports:
        used = _report(path).get("weights")
        if used is None or not Path(used).exists() or not checkpoint.exists() or not Path(used).samefile(checkpoint):
            raise UserError(f"{path}: has scores of {used or 'unknown weights'}, not of {checkpoint}")
    scores = [_measured(report) for report in reports]
    if published_scores:
        scores.append({"split": "test", "scores": dict(published_scores), "protocol": {"data": "published"}})
    return _publish(deployed(task) if deploy else task, checkpoint, folder, scores, license_name)


def deployed(task: Task) -> Task:
    """Return a Task whose model has the form for inference: its parts with an argument ``deploy`` have it set.

    Weights of the training form are converted when they are loaded; the outputs are equal, except for rounding.

    Raises ``UserError`` if no part has that argument.
    """
    table = copy.deepcopy(task.table)
    parts = [
        part
        for _, part, component in components(table.get("model"), ("model",), task.catalog)
        if "deploy" in read_signature(component.target).parameters
    ]
    if not parts:
        raise UserError(f"{task.name}: no part of its model has another form for inference (the argument deploy)")
    for part in parts:
        part["deploy"] = True
    return Task.from_table(table, task.catalog, task.name)


def _publish(
    task: Task, checkpoint: Path, folder: Path, measured: Sequence[Mapping[str, Any]], license_name: str | None
) -> Path:
    prefix = task.get("train.weights_prefix") or ""
    weights, about = read_weights(checkpoint, prefix, is_published(checkpoint, task.catalog))
    model = task.build("model")
    load_state(model, weights, source=str(checkpoint))
    scores = list(measured)
    if about.get("scores") and task.get("data.val") and all(found["split"] != "val" for found in scores):
        steps = task.table["data"]["val"].get("pipeline", {})
        protocol = {"data": "data.val", "pipeline": [call_text(step) for step in steps.values()]}
        scores.append({"split": "val", "scores": about["scores"], "protocol": protocol})
    described = _metadata(task, about, str(checkpoint), scores, license_name)
    steps = task.build(f"{task.prediction_part()}.pipeline") or {}
    described |= {"input": input_contract(steps), "reference": None}
    if (reference := reference_scores(model, steps)) is not None:
        described["reference"] = {"clip": CLIP, "scores": reference}
    tensors = {name: value.contiguous().clone() for name, value in model.state_dict().items()}  # none share memory
    content = save(tensors, metadata={"vidcore": dump_json(to_jsonable(described))})
    path = folder / f"{task.name}-{hashlib.sha256(content).hexdigest()[:8]}{SUFFIX}"
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(content)
    return path


def publish_run(
    run: RunFolder,
    folder: Path,
    catalog: Catalog,
    checkpoint: Path | None = None,
    license_name: str | None = None,
    deploy: bool = False,
) -> Path:
    """Publish the weights of a finished run with its scores; see ``publish``.

    Args:
        run: a finished run.
        folder: where to write the file.
        catalog: installed components.
        checkpoint: weights of that run; default: the best, or else the newest.
        license_name: of the weights.
        deploy: write the model in its form for inference; see ``deployed``.

    Raises:
        UserError: the run is not finished, or its checkpoint cannot be read.
    """
    if not run.task.exists() or not run.report.exists():
        raise UserError(f"{run.path}: does not hold a finished run (with task.toml and report.json)")
    checkpoints = Checkpoints(run.checkpoints)
    kept = [path for path in (checkpoints.best, *reversed(checkpoints.paths())) if path.exists()]
    chosen = checkpoint or next(iter(kept), None)
    if chosen is None:
        raise UserError(f"{run.checkpoints}: there is no checkpoint to publish")
    task = Task.from_table(run.table(), catalog, str(_report(run.report)["task"]))
    # a run evaluates the first of these at its end
    evaluated = bool(kept) and chosen.exists() and chosen.samefile(kept[0]) and "scores" in _report(run.report)
    task = deployed(task) if deploy else task
    return _publish(task, chosen, folder, [_measured(run.report)] if evaluated else [], license_name)


def _metadata(
    task: Task, about: Mapping[str, Any], source: str, scores: Sequence[Mapping[str, Any]], license_name: str | None
) -> dict[str, Any]:
    """Return the metadata of a release.

    ``format``, ``name`` and ``task``, which ``Release`` reads; ``class_names``; ``thresholds`` of labels; ``scores``, a
    list of evaluations with ``split``, ``scores`` and ``protocol``; ``versions`` of what wrote it; ``license``.
    ``input``, what the model takes (``input_contract``), and ``reference`` (``reference_scores``) are added to it.
    """
    part = task.prediction_part()
    table = kept_table(task.table, part)
    alone = Release(Path(task.name), task.name, table, {})
    checked = Task.from_table(alone.table(), task.catalog, task.name)
    if problems := list(alone.problems(checked.bound, checked.paths)):
        raise ConfigError(problems)
    return {
        "format": FORMAT,
        "name": task.name,
        "task": table,
        "class_names": known_names(task, about, source),
        THRESHOLDS: thresholds_beside_weights(about, source),
        "scores": scores,
        "versions": installed_versions(task.catalog),
        "license": license_name,
    }


def _measured(path: Path) -> dict[str, Any]:
    """Return the scores in a report, the split and the protocol."""
    report = _report(path)
    protocol = {name: value for name, value in (report.get("protocol") or {}).items() if name != "seconds"}
    protocol["fingerprint"] = (report.get("evaluation_data") or {}).get("fingerprint")
    split = str(protocol.get("data", "")).removeprefix("data.")
    return {"split": split, "scores": report.get("scores"), "protocol": protocol}


def _report(path: Path) -> dict[str, Any]:
    try:
        report = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is not the report of a run: {error}") from None
    if not isinstance(report, dict) or "task" not in report:
        raise UserError(f"{path}: is not the report of a run")
    return report
