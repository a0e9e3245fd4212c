"""Commands on results: ``score``, ``fuse``, ``compare``, ``publish``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidcore.cli import Context
from vidcore.cli.common import FILE, FOLDER, font_option, refuse_overwriting_inputs, table, with_task
from vidcore.cli.completion import complete_task
from vidcore.errors import UserError
from vidcore.files import parse_json

if TYPE_CHECKING:
    from vidcore.task.task import Task


@click.command()
@click.argument("predictions", type=FILE)
@with_task
@click.option("--dir", "folder", type=FOLDER, help="Folder of the report; default: named after the file.")
@click.option("--read", "kind", metavar="KIND", help="Format of a foreign file; `vidcore list readers` has KINDs.")
@font_option
def score(task: Task, predictions: Path, folder: Path | None, kind: str | None) -> None:
    """Score a file of PREDICTIONS with the metrics of TASK.

    `vidcore test --dump` and `vidcore fuse` write such files. With --read, results of other programs are compared with
    the test data of TASK.
    """
    from vidcore.predictions import PredictionFile
    from vidcore.task.report import evaluation_samples, score_predictions

    if kind is None:
        file = PredictionFile.load(predictions)
    else:
        targets = evaluation_samples(task)
        file = PredictionFile(tuple(task.catalog.get(kind, "readers").load()(predictions, targets)), targets)
    score_predictions(task, file, folder or predictions.with_suffix(""), str(predictions))


@click.command()
@click.argument("predictions", nargs=-1, required=True, type=FILE)
@click.option("--weights", "-w", metavar="WEIGHTS", help="Weight of each file, e.g. '1 0.5'; default: 1 each.")
@click.option("--output", "-o", type=FILE, required=True, help="File to write.")
@click.option(
    "--task", metavar="TASK", shell_complete=complete_task, help="Also score the sum with the metrics of TASK."
)
@click.pass_obj
def fuse(context: Context, predictions: tuple[Path, ...], weights: str | None, output: Path, task: str | None) -> None:
    """Add up the class scores in PREDICTIONS, such as RGB and flow."""
    refuse_overwriting_inputs(output)
    factors = _weights(weights, len(predictions))
    from vidcore.task.task import Task

    checked = Task.load(task, context.catalog) if task else None
    from vidcore.predictions import PredictionFile
    from vidcore.predictions import fuse as fuse_

    fused = fuse_([PredictionFile.load(p) for p in predictions], factors, [str(p) for p in predictions])
    fused.save(output)
    click.echo(f"wrote {output}")
    if checked is not None:
        from vidcore.task.report import score_predictions

        score_predictions(checked, fused, output.with_suffix(""), str(output))


def _weights(text: str | None, count: int) -> list[float]:
    if text is None:
        return [1.0] * count
    try:
        factors = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        factors = [math.nan]
    if not all(map(math.isfinite, factors)):
        raise UserError(f"--weights {text!r}: must be numbers separated by spaces")
    if len(factors) != count:
        raise UserError(f"--weights {text!r}: has {len(factors)} numbers for {count} files")
    return factors


@click.command()
@click.argument("runs", nargs=-1, required=True, type=FOLDER)
def compare(runs: tuple[Path, ...]) -> None:
    """Compare the scores and settings of RUNS (folders)."""
    from vidcore.task.run_folder import RunFolder

    reports = [_read(run) for run in runs]
    tasks = [_flat(folder.table() if folder.task.exists() else {}) for folder in map(RunFolder, runs)]
    names = list(dict.fromkeys(name for report in reports for name in report.get("scores", {})))
    facts = [("parameters", "parameters"), ("training.seconds", "seconds of training")]
    rows = [(name, *(_number(r.get("scores", {}).get(name)) for r in reports)) for name in names]
    rows += [(label, *(_number(_flat(r).get(key)) for r in reports)) for key, label in facts]
    rows += [("data", *(str(_flat(r).get("protocol.coverage", "-")) for r in reports))]
    differing = [k for k in dict.fromkeys(k for t in tasks for k in t) if len({repr(t.get(k)) for t in tasks}) > 1]
    rows += [(key, *(_shown(t.get(key)) for t in tasks)) for key in differing]
    table(["", *(str(run) for run in runs)], rows)


@click.command()
@click.argument("source", metavar="RUN|TASK", shell_complete=complete_task)
@click.option("--checkpoint", "-c", type=FILE, help="Weights; default: the best of the RUN.")
@click.option("--dir", "folder", type=FOLDER, default=".", help="Folder to write to; default: the current one.")
@click.option("--license", "license_name", metavar="NAME", help="License of the weights, such as CC-BY-4.0.")
@click.option(
    *("--report", "reports"),
    multiple=True,
    type=FILE,
    help="A report.json of 'vidcore test' with this checkpoint, for the scores.",
)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value of TASK, e.g. data.classes."
)
@click.option("--deploy", is_flag=True, help="Write the form for inference: MobileOne with its branches fused.")
@click.pass_obj
def publish(
    context: Context,
    source: str,
    checkpoint: Path | None,
    folder: Path,
    license_name: str | None,
    reports: tuple[Path, ...],
    overrides: tuple[str, ...],
    deploy: bool,
) -> None:
    """Write a release: one file that works alone.

    It has the weights of a finished RUN (a folder), or those of any checkpoint of a TASK; the model and the pipeline;
    class names and scores. Its name ends in a hash.
    """
    from vidcore.task.publish import publish as publish_
    from vidcore.task.publish import publish_run
    from vidcore.task.run_folder import RunFolder
    from vidcore.task.task import Task
    from vidcore.tools.fetch import obtain

    if Path(source).is_dir():
        if reports or overrides:
            raise UserError(f"{source}: a run has its own Task and report; --set and --report are for a TASK")
        path = publish_run(RunFolder(Path(source)), folder, context.catalog, checkpoint, license_name, deploy=deploy)
    elif checkpoint is None:
        raise UserError(f"{source}: is not a folder of a run; a Task needs its weights, see --checkpoint")
    else:
        task = Task.load(source, context.catalog, overrides)
        checkpoint = obtain(checkpoint, context.catalog)
        path = publish_(task, checkpoint, folder, reports, license_name, deploy=deploy)
    click.echo(f"wrote {path}")


def _read(run: Path) -> dict[str, Any]:
    from vidcore.task.report import report_scores

    path = run / "report.json"
    try:
        report: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        report_scores(report)
    except FileNotFoundError:
        raise UserError(f"{run}: does not hold a finished run (report.json is missing)") from None
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: is not a report: {error}") from None
    return report


def _flat(data: Mapping[str, Any], key: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in data.items():
        out |= _flat(value, f"{key}{name}.") if isinstance(value, Mapping) else {f"{key}{name}": value}
    return out


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    text = "-" if value is None else str(value)
    return text if len(text) <= 40 else f"...{text[-37:]}"
