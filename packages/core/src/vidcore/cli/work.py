"""Commands that train and evaluate. torch is imported inside them."""

from __future__ import annotations

from pathlib import Path

import click

from vidcore.cli import Context
from vidcore.cli.inspect import set_option

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
