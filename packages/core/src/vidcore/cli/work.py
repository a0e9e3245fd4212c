"""Commands that train, evaluate and predict. torch is imported inside them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidcore.cli import Context
from vidcore.cli.inspect import set_option

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vidcore.sample import Sample

file_option = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("task")
@set_option
@click.option(
    "--dir", "run_dir", type=click.Path(file_okay=False, path_type=Path), help="Write here; default runs/TASK."
)
@click.option("--resume", is_flag=True, help="Continue the run in that folder: from its last checkpoint or stage.")
@click.pass_obj
def run(context: Context, task: str, overrides: tuple[str, ...], run_dir: Path | None, resume: bool) -> None:
    """Train and evaluate what TASK (a file or recipe) describes, stage after stage where it has several."""
    from vidcore.config.task import Task

    checked = Task.load(task, context.catalog, overrides)  # mistakes show before torch is imported
    from vidcore.stages import run as run_task

    run_task(checked, run_dir, resume)


@click.command()
@click.argument("task")
@set_option
@click.option("--checkpoint", "-c", type=file_option, required=True, help="Weights: of a run, or published.")
@click.option("--dir", "run_dir", type=click.Path(file_okay=False, path_type=Path), help="Write the report here.")
@click.option("--dump", type=file_option, help="Write the predictions to this .npz file.")
@click.pass_obj
def test(
    context: Context,
    task: str,
    overrides: tuple[str, ...],
    checkpoint: Path,
    run_dir: Path | None,
    dump: Path | None,
) -> None:
    """Evaluate a checkpoint on the test data of TASK."""
    from vidcore.config.task import Task

    checked = Task.load(task, context.catalog, overrides)
    from vidcore.run import evaluate_checkpoint

    evaluate_checkpoint(checked, checkpoint, run_dir, dump)


@click.command()
@click.argument("task")
@click.argument("videos", nargs=-1, required=True, metavar="VIDEO|FOLDER...")
@set_option
@click.option("--checkpoint", "-c", type=file_option, required=True, help="Weights: of a run, or published.")
@click.option("--top", default=5, show_default=True, type=click.IntRange(1), help="Classes to show per video.")
@click.option("--batch-size", type=click.IntRange(1), help="Videos at once; default as for testing.")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(1), help="Threads that decode.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one object per video and line.")
@click.option("-o", "--output", type=file_option, help="Write to this file instead.")
@click.pass_obj
def predict(
    context: Context,
    task: str,
    videos: tuple[str, ...],
    overrides: tuple[str, ...],
    checkpoint: Path,
    top: int,
    batch_size: int | None,
    workers: int,
    as_json: bool,
    output: Path | None,
) -> None:
    """Predict the classes of videos with TASK and a checkpoint. Folders mean the videos below them."""
    from vidcore.config.task import Task

    checked = Task.load(task, context.catalog, overrides)
    from vidcore.predict import Predictor, find_videos

    found = find_videos(videos)
    predictor = Predictor(checked, checkpoint, batch_size=batch_size, workers=workers)
    results = _with_progress(predictor.stream(found, on_error="keep"), len(found))
    with click.open_file(str(output) if output else "-", "w", encoding="utf-8") as out:
        bad = _write_json(results, top, out) if as_json else _write_table(results, top, out)
    if bad:
        click.echo(f"error: {bad} of {len(found)} videos cannot be read", err=True)
        sys.exit(2)


def _with_progress(results: Iterable[Sample], total: int) -> Iterable[Sample]:
    if not sys.stderr.isatty() or total < 2:
        return results
    from rich.console import Console
    from rich.progress import track

    return track(results, "predicting", total=total, console=Console(stderr=True), transient=True)


def _record(sample: Sample, top: int) -> Mapping[str, Any]:
    from vidcore.predict import top_classes

    if "error" in sample.meta:
        return {"video": sample.path, "error": sample.meta["error"]}
    best = [{"class": name, "score": round(score, 6)} for name, score in top_classes(sample, top)]
    return {"video": sample.path, "classes": best}


def _write_json(results: Iterable[Sample], top: int, out: Any) -> int:
    bad = 0
    for record in (_record(sample, top) for sample in results):
        out.write(json.dumps(record, ensure_ascii=False) + "\n")
        out.flush()
        bad += "error" in record
    return bad


def _write_table(results: Iterable[Sample], top: int, out: Any) -> int:
    bad = 0
    for record in (_record(sample, top) for sample in results):
        out.write(f"{record['video']}\n")
        if "error" in record:
            bad += 1
            out.write(f"  cannot be read: {record['error'].removeprefix(record['video'] + ': ')}\n")
        for line in record.get("classes", ()):
            out.write(f"  {line['score']:8.4f}  {line['class']}\n")
        out.flush()
    return bad
