"""The report of a run: ``report.json``, files that metrics write, and tables on the terminal.

Nothing here imports torch, so that predictions in a file can be scored without it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vidcore.errors import ConfigError, UserError
from vidcore.files import write_json
from vidcore.metrics import Mistakes
from vidcore.predictions import PredictionFile
from vidcore.protocols import Dataset, Metric
from vidcore.sample import Sample
from vidcore.task.notes import Notes
from vidcore.task.run_folder import RunFolder
from vidcore.task.task import Task

if TYPE_CHECKING:
    import torch

    from vidcore.data.pool.loader import Loader
    from vidcore.engine.evaluate import Evaluation

__all__ = [
    "MISTAKES",
    "call_text",
    "coverage",
    "evaluation_fields",
    "evaluation_samples",
    "finish",
    "header",
    "report_scores",
    "score_predictions",
]


MISTAKES = "(predictions)"
"""Name of the metric ``Mistakes`` among those of a Task."""
LIBRARIES = ("torch", "numpy", "av", "opencv-python-headless", "decord", "decord2")
"""Distributions whose versions a report lists if they are installed."""


def header(task: Task, model: torch.nn.Module | None = None) -> dict[str, Any]:
    """Return the first fields of every report: name of the Task, time, parameters, versions, files of ``--plugin``."""
    return {
        "task": task.name,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "parameters": sum(p.numel() for p in model.parameters()) if model else None,
        "versions": {"python": platform.python_version()}
        | {name: found for name in LIBRARIES if (found := _version(name))}
        | {p.name: p.version for p in task.catalog.plugins if p.error is None and p.file is None},
    } | ({"plugins": task.catalog.files} if task.catalog.files else {})


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:  # an extra
        return None


def coverage(loader: Loader) -> dict[str, Any]:
    """Return number of samples, number of those used, and fingerprint of a dataset. All ranks must call this."""
    from vidcore.engine import dist

    size, bad = len(loader.dataset), set().union(*dist.gather(set(loader.bad.failures)))
    return {"samples": size, "used": size - len(bad), "fingerprint": loader.dataset.fingerprint()}


def evaluation_fields(task: Task, part: str, loader: Loader, found: Evaluation) -> dict[str, Any]:
    """Return the fields of a report about an evaluation on ``data.<part>``: scores, protocol and coverage."""
    steps = task.table["data"][part].get("pipeline", {})
    return {
        "scores": found.scores,
        "protocol": {
            "data": f"data.{part}",
            "pipeline": [call_text(step) for step in steps.values()],
            "coverage": f"{found.samples} of {found.total} samples",
            "seconds": round(found.seconds, 3),
        },
        "evaluation_data": coverage(loader),
    }


def finish(
    folder: Path, report: dict[str, Any], metrics: Mapping[str, Metric], written: list[Path], notes: Notes
) -> None:
    """Write report and pictures, and print the results, new notes and the paths of the files.

    Raises ``UserError`` or ``OSError`` at the end if a metric could not write its files.
    """
    failed: UserError | OSError | None = None
    for metric in metrics.values():
        try:
            written += metric.write(folder)
        except (UserError, OSError) as error:  # a file that cannot be written must not lose the report
            failed = failed or error
    found = [n for m in metrics.values() for n in m.notes()]
    found += [f"used {name} ({hash_[:15]})" for name, hash_ in report.get("plugins", {}).items()]
    new = [note for note in dict.fromkeys(found) if note not in notes.lines]
    report["notes"] = [*notes.lines, *new]
    report["files"] = [str(p) for p in written if p.exists()]
    write_json(folder / "report.json", report)
    _print(report, new, folder / "report.json", [m.table() for m in metrics.values()])
    if failed:
        raise failed


def report_scores(report: Any) -> dict[str, float]:
    """Return the scores in the content of a ``report.json``.

    Raises ``TypeError``, ``ValueError`` or ``AttributeError`` if it is something else.
    """
    scores = report.get("scores", {})
    for value in scores.values():
        float(value)  # JSON has "nan" as a string
    return dict(scores)


def evaluation_samples(task: Task) -> tuple[Sample, ...]:
    """Return the annotated samples of the test data of a Task, or else of its validation data."""
    part = "test" if task.get("data.test") else "val"
    task.require(f"data.{part}")
    dataset: Dataset = task.build(f"data.{part}.dataset")
    return tuple(dataset[i].replace(index=i) for i in range(len(dataset)))


def score_predictions(task: Task, file: PredictionFile, folder: Path, source: str) -> dict[str, Any]:
    """Score predictions with the metrics of a Task, and write report and pictures.

    Args:
        task: only its metrics are used, those of the test data.
        file: predictions and ground truth.
        folder: where to write.
        source: origin of the predictions, for the report.

    Returns:
        The content of ``report.json``.
    """
    part = next((p for p in ("test", "val") if task.get(f"data.{p}")), "test")
    if not task.get(f"data.{part}.metrics"):
        task.require("metrics")
    metrics = {**task.metrics(part), MISTAKES: Mistakes()}
    scores: dict[str, float] = {}
    for name, metric in metrics.items():
        metric.update(file.predictions, file.targets)
        found = metric.compute()
        if twice := scores.keys() & found.keys():
            raise ConfigError(f"metrics.{name}: another metric already returns a score {min(twice)!r}")
        scores |= found
    report = header(task) | {
        "scores": scores,
        "protocol": {"data": source, "pipeline": [], "coverage": f"{len(file.predictions)} samples"},
    }
    with RunFolder(folder).claim():
        finish(folder, report, metrics, [], Notes())
    return report


def call_text(step: Mapping[str, Any]) -> str:
    """Return a step of a pipeline as a call: ``Resize(scale=[-1, 256])``."""
    arguments = ", ".join(f"{k}={v}" for k, v in step.items() if k != "type")
    return f"{step['type']}({arguments})"


def _print(
    report: Mapping[str, Any], notes: Sequence[str], path: Path, tables: Sequence[Sequence[Mapping[str, Any]]]
) -> None:
    from rich.console import Console as Terminal
    from rich.table import Table

    terminal = Terminal(soft_wrap=True, highlight=False)
    for rows in tables:
        if 0 < len(rows) <= 30:  # longer tables are only written to files
            table = Table(*rows[0])
            for row in rows:
                table.add_row(*(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row.values()))
            terminal.print(table)
    if report.get("scores"):
        table = Table("score", "value", title=f"{report['task']}: {report['protocol']['coverage']}")
        for name, value in report["scores"].items():
            table.add_row(name, f"{value:.4f}")
        terminal.print(table)
        steps = ", ".join(report["protocol"]["pipeline"])
        terminal.print(f"on {report['protocol']['data']}{': ' if steps else ''}{steps}", markup=False)
    for note in notes:
        terminal.print(f"note: {note}", markup=False)
    for file in (*report["files"], str(path)):
        terminal.print(f"wrote {file}", markup=False)
