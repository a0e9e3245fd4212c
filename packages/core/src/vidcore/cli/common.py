"""What several commands share: the Task they are about, kinds of options, tables of text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from vidcore.cli import Context

__all__ = ["FILE", "FOLDER", "checkpoint_option", "table", "with_task"]

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

checkpoint_option = click.option(
    "--checkpoint", "-c", type=FILE, required=True, help="Weights: of a run, or published."
)


def with_task(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command begin with TASK and ``--set``: it gets the checked ``Task``, before torch is imported."""

    @click.argument("task")
    @click.option(
        "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override one value, e.g. optimizer.lr=0.01."
    )
    @click.pass_obj
    @wraps(command)
    def checked(context: Context, /, task: str, overrides: tuple[str, ...], **others: Any) -> None:
        from vidcore.config.task import Task

        command(Task.load(task, context.catalog, overrides), **others)

    return checked


def table(columns: Sequence[str], rows: Sequence[tuple[str, ...]]) -> None:
    """Print aligned columns."""
    widths = [max(len(r[i]) for r in [tuple(columns), *rows]) for i in range(len(columns))]
    for row in [tuple(columns), *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
