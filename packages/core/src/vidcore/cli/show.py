"""Commands that show things without training: ``plugins``, ``list``, ``check``, ``explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vidcore.cli import Context
from vidcore.cli.common import FILE, refuse_overwriting_inputs, table, with_task
from vidcore.cli.completion import complete_kinds
from vidcore.cli.recipes import COLUMNS, RecipeFacts
from vidcore.errors import UserError, nearest

if TYPE_CHECKING:
    from vidcore.plugins.catalog import Catalog
    from vidcore.task.task import Task


@click.command()
@click.pass_obj
def plugins(context: Context) -> None:
    """List the installed plugins and what they offer."""
    catalog = context.catalog
    everything = [*catalog.components.values(), *catalog.commands.values()]
    rows = []
    for plugin in catalog.plugins:
        kinds = [c.kind for c in everything if c.plugin == plugin.name]
        counts = [f"{kinds.count(k)} {k}" for k in (*catalog.kinds, "commands") if k in kinds]
        folders = [folder for name, folder in catalog.recipe_folders if name == plugin.name]
        recipes = sum(any(path.is_relative_to(f) for f in folders) for path in catalog.recipes.values())
        counts += [f"{recipes} recipes"] if recipes else []
        rows.append((plugin.name, plugin.version[:15], plugin.error or ", ".join(counts)))
    table(["plugin", "version", "offers"], rows)


@click.command("list")
@click.argument("kind", required=False, shell_complete=complete_kinds)
@click.option("--task", metavar="NAME", help="Of recipes: only those for this task, such as recognition.")
@click.option("--dataset", metavar="NAME", help="Of recipes: only those for this dataset, such as kinetics400.")
@click.option("--wide", is_flag=True, help="Of recipes: one line for each, wider than 80 columns.")
@click.pass_obj
def list_(context: Context, kind: str | None, task: str | None, dataset: str | None, wide: bool) -> None:
    """List components, recipes and commands.

    KIND limits the list to models, datasets, transforms, metrics, optimizers, recipes, commands or another kind.
    Recipes are listed with their task, dataset, number of parameters, published scores, and the licence of their
    published weights.
    """
    catalog = context.catalog
    kinds = (*catalog.kinds, "recipes", "commands")
    if kind is not None and kind not in kinds:
        raise UserError(f"no kind {kind!r}{nearest(kind, kinds) or ''}; the kinds are {', '.join(kinds)}")
    if task is not None or dataset is not None or wide or kind == "recipes":
        if kind not in (None, "recipes"):
            raise UserError(f"--task, --dataset and --wide are about recipes, not {kind}")
        found = _recipes(catalog, task, dataset)
        if wide:
            table(COLUMNS, [recipe.row() for recipe in found])
        for line in () if wide else (line for recipe in found for line in (recipe.name, *recipe.lines())):
            click.echo(line)
        return
    rows = [(c.kind, c.name, c.plugin, c.target) for k in catalog.kinds for c in catalog.of_kind(k).values()]
    rows += [("commands", c.name, c.plugin, c.target) for _, c in sorted(catalog.commands.items())]
    table(["kind", "name", "plugin", "where"], [r for r in rows if kind in (None, r[0])])
    if kind is None:  # not in the table, whose column of names they would make as wide as a terminal
        click.echo()
        table(["recipes"], [(name,) for name in sorted(catalog.recipes)])


def _recipes(catalog: Catalog, task: str | None, dataset: str | None) -> list[RecipeFacts]:
    """Return the recipes of a task and a dataset."""
    found = [RecipeFacts.of(name, catalog) for name in sorted(catalog.recipes)]
    for option, wanted, known in (
        ("--task", task, {recipe.task for recipe in found}),
        ("--dataset", dataset, {recipe.dataset for recipe in found if recipe.dataset}),
    ):
        if wanted is not None and wanted not in known:
            hint, names = nearest(wanted, known), ", ".join(sorted(known))
            raise UserError(f"{option} {wanted}: no recipe has it{hint or f'; there are {names}'}")
    return [r for r in found if task in (None, r.task) and dataset in (None, r.dataset)]


@click.command()
@with_task
@click.option("--build", is_flag=True, help="Also build all parts, load weights and count the classes of datasets.")
def check(task: Task, build: bool) -> None:
    """Check TASK (a file or recipe).

    A missing file is only a warning, since the data may be on another machine. With --build, everything that a run
    would refuse at its start is an error, and what it would note is printed.
    """
    for problem in task.missing_files():
        click.echo(f"warning: {problem}", err=True)
    if build:
        from vidcore.task.check import check_build

        notes = check_build(task)
    else:
        from vidcore.task.sides import check_flips

        notes = check_flips(task)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{task.name}: fine")


@click.command()
@with_task
@click.option("--output", "-o", type=FILE, help="File to write; default: the terminal.")
@click.option(
    "--schedule", is_flag=True, help="Draw the learning rate instead; --output writes it as a table or a .png file."
)
@click.option(
    "--steps-per-epoch", type=click.IntRange(1), metavar="N", help="For --schedule; default: counted in the data."
)
def explain(task: Task, output: Path | None, schedule: bool, steps_per_epoch: int | None) -> None:
    """Print TASK with inheritance and overrides resolved.

    The result is an equivalent Task in TOML.
    """
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
