"""Commands that look without building: plugins, list, check, explain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.cli import Context
from vidcore.cli.common import FILE, refuse_overwriting_inputs, table, with_task
from vidcore.errors import UserError, nearest

if TYPE_CHECKING:
    from vidcore.task.task import Task


@click.command()
@click.pass_obj
def plugins(context: Context) -> None:
    """Show the installed plugins and what each offers."""
    catalog = context.catalog
    everything = [*catalog.components.values(), *catalog.commands.values()]
    rows = []
    for plugin in catalog.plugins:
        kinds = [c.kind for c in everything if c.plugin == plugin.name]
        counts = [f"{kinds.count(k)} {k}" for k in (*catalog.kinds, "commands") if k in kinds]
        folders = [folder for name, folder in catalog.recipe_folders if name == plugin.name]
        recipes = sum(any(path.is_relative_to(f) for f in folders) for path in catalog.recipes.values())
        counts += [f"{recipes} recipes"] if recipes else []
        rows.append((plugin.name, plugin.version, plugin.error or ", ".join(counts)))
    table(["plugin", "version", "offers"], rows)


@click.command("list")
@click.argument("kind", required=False)
@click.pass_obj
def list_(context: Context, kind: str | None) -> None:
    """List components, by KIND if given: models, datasets, transforms, metrics, recipes, commands, ..."""
    catalog = context.catalog
    kinds = (*catalog.kinds, "recipes", "commands")
    if kind is not None and kind not in kinds:
        raise UserError(f"there is no kind {kind!r}{nearest(kind, kinds) or ''}; kinds are {', '.join(kinds)}")
    rows = [(c.kind, c.name, c.plugin, c.target) for k in catalog.kinds for c in catalog.of_kind(k).values()]
    rows += [("recipes", name, "", path.parent.name) for name, path in sorted(catalog.recipes.items())]
    rows += [("commands", c.name, c.plugin, c.target) for _, c in sorted(catalog.commands.items())]
    table(["kind", "name", "plugin", "where"], [r for r in rows if kind in (None, r[0])])


@click.command()
@with_task
@click.option("--build", is_flag=True, help="Also build everything, load weights and count the classes of the data.")
def check(task: Task, build: bool) -> None:
    """Check everything in TASK (a file or recipe) that can be checked without building it.

    A file that does not exist is a warning: the data may be on another machine. With --build, everything that a run
    would refuse at its start is an error.
    """
    for problem in task.missing_files():
        click.echo(f"warning: {problem}", err=True)
    if build:
        from vidcore.task.check import check_build

        check_build(task)
    click.echo(f"{task.name}: fine")


@click.command()
@with_task
@click.option("-o", "--output", type=FILE, help="Write to this file.")
@click.option("--schedule", is_flag=True, help="Draw the learning rate instead; --output: all steps, or a .png file.")
@click.option("--steps-per-epoch", type=click.IntRange(1), help="For --schedule; else counted in the data.")
def explain(task: Task, output: Path | None, schedule: bool, steps_per_epoch: int | None) -> None:
    """Print TASK with everything it extends and overrides resolved: TOML that runs to the same result."""
    refuse_overwriting_inputs(output)
    if schedule:
        from vidcore.tools.lr_preview import LRPreview

        preview = LRPreview.of(task, steps_per_epoch)
        click.echo(preview.picture())
        if output is None:
            return
        if output.suffix == ".png":
            from vidcore.tools.draw import save_figure

            save_figure(preview.figure(), output)
            return
        text = preview.csv()
    else:
        from vidcore.config.toml import dumps

        text = dumps(task.table)
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        click.echo(text, nl=False)
