"""Shared by commands: the TASK argument, options, text tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vidcore.cli import Context
from vidcore.cli.completion import complete_keys, complete_task
from vidcore.errors import UserError
from vidcore.jobs import Shard
from vidcore.video.open import VIDEO_SUFFIXES

__all__ = [
    "FILE",
    "FOLDER",
    "checkpoint_option",
    "draw_options",
    "font_option",
    "open_drawing",
    "refuse_overwriting_inputs",
    "shard_option",
    "table",
    "with_task",
]

if TYPE_CHECKING:
    from vidcore.plugins.catalog import Catalog
    from vidcore.predict.drawing import Drawing

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

checkpoint_option = click.option(
    *("--checkpoint", "-c"),
    type=FILE,
    help="Weights from a run, or published ones: a file, or a recipe; default: those of TASK, if it is a recipe.",
)

shard_option = click.option(
    *("--shard", "shard"), default="1/1", metavar="I/N", callback=lambda _, __, text: Shard.parse(text),
    help="Process only part I (from 1) of N equal parts of the files.",
)  # fmt: skip


def font_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--font`` to a command: pictures and videos that it draws prefer that font."""

    @click.option("--font", type=FILE, help="Font file of pictures and drawn videos; default: installed fonts.")
    @wraps(command)
    def with_font(*arguments: Any, font: Path | None, **options: Any) -> None:
        if font is None:
            command(*arguments, **options)
            return
        from vidcore.tools.draw import prefer_font

        with prefer_font(font):
            command(*arguments, **options)

    return with_font


def draw_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add ``--draw``, ``--drawer`` and ``--videos`` to a command; see ``open_drawing``."""
    options = (
        click.option("--draw", type=FOLDER, help="Also write each video with its predictions into this folder."),
        click.option(
            *("--drawer", "drawers"),
            multiple=True,
            metavar="NAME",
            help="Draw only with this one; `vidcore list drawers` has NAMEs; default: all that can draw a prediction.",
        ),
        click.option(
            "--videos", "source_videos", type=FOLDER, help="Folder of the videos to draw on, if TASK reads features."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def open_drawing(
    catalog: Catalog, draw: Path | None, drawers: tuple[str, ...], source_videos: Path | None, top: int = 5
) -> Drawing | None:
    """Return what the options of ``draw_options`` ask for.

    Raises ``UserError`` if there is no such drawer, or ``--draw`` is missing.
    """
    if draw is None:
        if drawers or source_videos:
            raise UserError(f"{'--drawer' if drawers else '--videos'}: requires --draw FOLDER")
        return None
    from vidcore.predict.drawing import Drawing, load_drawers

    return Drawing(draw, load_drawers(catalog, drawers), top, source_videos)


def with_task(command: Callable[..., None]) -> Callable[..., None]:
    """Add TASK and ``--set`` to a command, which gets the checked ``Task``. torch is not imported."""

    @click.argument("task", shell_complete=complete_task)
    @click.option(
        *("--set", "overrides"),
        multiple=True,
        metavar="KEY=VALUE",
        shell_complete=complete_keys,
        help="Override one value, e.g. optimizer.lr=0.01.",
    )
    @click.pass_obj
    @wraps(command)
    def checked(context: Context, /, task: str, overrides: tuple[str, ...], **others: Any) -> None:
        from vidcore.task.task import Task

        command(Task.load(task, context.catalog, overrides), **others)

    return checked


def refuse_overwriting_inputs(output: Path | None) -> None:
    """Raise ``UserError`` if the output is an input of the command, or a video, as in ``-o a.mp4 b.mp4``."""
    if output is None or not output.is_file():
        return
    values = click.get_current_context().params.values()
    given = [v for value in values for v in (value if isinstance(value, tuple) else (value,)) if v is not output]
    read = any(os.path.isfile(v) and output.samefile(v) for v in given if isinstance(v, str | Path))
    if read or output.suffix.lower() in VIDEO_SUFFIXES:
        kind = "an input" if read else "a video"
        raise UserError(f"{output}: is {kind} and would be overwritten; choose another output")


def table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Print aligned columns."""
    widths = [max(len(r[i]) for r in [tuple(columns), *rows]) for i in range(len(columns))]
    for row in [tuple(columns), *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
