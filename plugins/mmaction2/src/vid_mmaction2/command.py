"""``vidcore import``: conversion of configurations and checkpoints of MMAction2."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from vidcore.cli import Context
from vidcore.errors import ConfigError, UserError

__all__ = ["import_"]


@click.command("import")
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write to this file.")
@click.option("--partial", is_flag=True, help="Write a Task even if some parts cannot be converted.")
@click.pass_obj
def import_(context: Context, source: Path, output: Path | None, partial: bool) -> None:
    """Convert a configuration or checkpoint of MMAction2.

    SOURCE is a configuration (.py, .json) of 1.x or 0.x, or a checkpoint (.pth). A configuration becomes a Task (TOML,
    printed unless --output is given), a checkpoint a file of weights for `--checkpoint` and `train.weights`. Nothing in
    SOURCE is executed. What cannot be converted is reported.
    """
    if source.suffix in (".pth", ".pt", ".ckpt"):
        _checkpoint(source, output)
    else:
        _config(context, source, output, partial)


def _config(context: Context, source: Path, output: Path | None, partial: bool) -> None:
    from vid_mmaction2.config import convert_config
    from vid_mmaction2.reader import read_config
    from vidcore.config.toml import dumps
    from vidcore.task.task import Task

    skipped: list[str] = []
    imported = convert_config(read_config(source, skipped), context.catalog)
    problems = [f"{source}: {problem}" for problem in imported.problems]
    if problems and not partial:
        raise ConfigError([*problems, "nothing was written; use --partial to write the rest"])
    if not problems:
        try:
            Task.from_table(imported.task, context.catalog, source.stem)
        except ConfigError as error:
            problems = [problem.removeprefix("task: ") for problem in error.problems]
            raise ConfigError([f"{source}: the Task made from it: {problem}" for problem in problems]) from error
    for note in imported.notes:
        click.echo(f"note: {source}: {note}", err=True)
    for line in (*skipped, *(f"{source}: {place}" for place in imported.left_out), *problems):
        click.echo(f"left out: {line}", err=True)
    if imported.implied:
        click.echo(f"left out: {source}: as vidcore does so anyway: {', '.join(_names(imported.implied))}", err=True)
    if imported.variables:
        why = "variables, whose values are where the file uses them"
        click.echo(f"left out: {source}: {why}: {', '.join(imported.variables)}", err=True)
    text = dumps(imported.task)
    if output:
        output.write_text(text, encoding="utf-8")
        click.echo(f"{output}: written")
    else:
        click.echo(text, nl=False)


def _names(implied: Sequence[str]) -> list[str]:
    """Return the names of settings, each once: its last key, or the value of a ``type``."""
    pairs = [line.partition(": ")[::2] for line in implied]
    return sorted({value if place.endswith(".type") else place.rpartition(".")[2] for place, value in pairs})


def _checkpoint(source: Path, output: Path | None) -> None:
    from vid_mmaction2.checkpoints import read_checkpoint, write_checkpoint

    if output is None:
        raise UserError(f"{source}: an output file is needed for the weights: -o model.pth or -o model.safetensors")
    published = read_checkpoint(source)
    write_checkpoint(output, published)
    classes = f"{len(published.classes)} class names" if published.classes else "no class names"
    click.echo(f"{output}: {len(published.weights)} tensors, {classes}")
    if published.dropped:
        click.echo(f"left out: {', '.join(published.dropped)}")
