"""``vidcore run`` and ``vidcore test``. torch is imported inside them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.cli.common import (
    FILE,
    FOLDER,
    checkpoint_option,
    draw_options,
    font_option,
    open_drawing,
    refuse_overwriting_inputs,
    with_task,
)
from vidcore.errors import UserError

if TYPE_CHECKING:
    from vidcore.task.task import Task


@click.command()
@with_task
@click.option("--dir", "--work-dir", "run_dir", type=FOLDER, help="Folder of the run; default: runs/TASK.")
@click.option("--resume", is_flag=True, help="Resume the run in that folder from its last checkpoint or stage.")
@click.option("--resume-from", type=FILE, help="Resume from this checkpoint of another folder, if that one holds none.")
@font_option
def run(task: Task, run_dir: Path | None, resume: bool, resume_from: Path | None) -> None:
    """Train and evaluate the model of TASK, or run its stages.

    TASK is a file or the name of a recipe.
    """
    from vidcore.task.run_folder import own_folder
    from vidcore.training import train

    if resume and run_dir is None:
        run_dir = own_folder(task.file, task.build("runtime").run_dir)
    train(task, run_dir, resume=resume, resume_from=resume_from)


@click.command()
@with_task
@checkpoint_option
@click.option("--dir", "--work-dir", "run_dir", type=FOLDER, help="Folder of the report; default: runs/TASK-test.")
@click.option("--dump", type=FILE, help="Write the predictions to this .npz file.")
@draw_options
@click.option("--every", type=click.IntRange(1), help="Draw every N-th sample; default: all.", metavar="N")
@font_option
def test(
    task: Task,
    checkpoint: Path | None,
    run_dir: Path | None,
    dump: Path | None,
    draw: Path | None,
    drawers: tuple[str, ...],
    source_videos: Path | None,
    every: int | None,
) -> None:
    """Evaluate a checkpoint on the test data of TASK."""
    refuse_overwriting_inputs(dump)
    drawing = open_drawing(task.catalog, draw, drawers, source_videos)
    if every and not drawing:
        raise UserError("--every: requires --draw FOLDER")
    from vidcore.predict.drawing import DrawPredictions
    from vidcore.task.evaluate import evaluate_checkpoint
    from vidcore.tools.console import Console
    from vidcore.tools.fetch import weights_for

    drawn = {"draw": DrawPredictions(drawing, every or 1)} if drawing else {}
    evaluate_checkpoint(task, weights_for(task, checkpoint), run_dir, dump, [Console()], drawn)
