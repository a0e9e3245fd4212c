"""``vidcore weights``: files of published weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from vidcore.cli import Context
from vidcore.cli.common import FOLDER, table
from vidcore.errors import CheckpointError, UserError
from vidcore.weights.places import find, folders, how_to_get, locate
from vidcore.weights.published import Published, by_name, published

if TYPE_CHECKING:
    from vidcore.plugins.catalog import Catalog

__all__ = ["find_", "get", "list_"]


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    catalog: Catalog = ctx.find_root().obj.catalog
    return [CompletionItem(name) for name in published(catalog) if name.startswith(incomplete)]


names_argument = click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)


@click.command("list")
@click.argument("part", default="")
@click.option("--here", is_flag=True, help="Only those that are on this machine.")
@click.pass_obj
def list_(context: Context, part: str, here: bool) -> None:
    """List published weights whose names contain PART.

    Shows the first digits of their SHA-256, and where they are on this machine.
    """
    rows = []
    for name, one in published(context.catalog).items():
        path = find(one.file)
        if part in name and (path or not here):
            rows.append((one.digest or "-", name, str(path.parent) if path else "-"))
    table(["hash", "name", "folder"], rows)


@click.command("find")
@names_argument
@click.pass_obj
def find_(context: Context, names: tuple[str, ...]) -> None:
    """Print the paths of the weights of recipes or files NAME.

    Folders are searched in this order: those of VIDCORE_WEIGHTS, then the cache of torch hub. The exit code is 2 if one
    is not there.
    """
    missing = False
    for name in names:
        path = locate(Path(name), context.catalog)
        if path is None:
            click.echo(f"{name}: is not on this machine; {how_to_get(Path(name), context.catalog)}", err=True)
        else:
            click.echo(path)
        missing |= path is None
    if missing:
        searched = "\n".join(f"  {folder}" for folder in folders())
        click.echo(f"folders that were searched:\n{searched}", err=True)
        sys.exit(2)


@click.command()
@names_argument
@click.option(
    *("--mirror", "addresses"), multiple=True, metavar="ADDRESS|REPOSITORY", help="Default: those in VIDCORE_MIRROR."
)
@click.option("--dir", "folder", type=FOLDER, help="Folder to write to; default: the first folder of weights.")
@click.pass_obj
def get(context: Context, names: tuple[str, ...], addresses: tuple[str, ...], folder: Path | None) -> None:
    """Download the weights of recipes or files NAME, and print their paths.

    Those that are on this machine are only verified. A mirror is an address with {path}, {file} or {name} in it, or
    OWNER/REPOSITORY of Hugging Face. An interrupted download resumes.
    """
    from vidcore.tools.fetch import fetch
    from vidcore.weights.mirrors import mirrors

    servers = mirrors(addresses)
    chosen = [_one(name, context.catalog) for name in names]
    failed: list[str] = []
    for one in chosen:
        try:
            click.echo(fetch(one, servers, folder))
        except CheckpointError as error:  # the others may work
            failed.append(str(error))
    for message in failed[:-1]:
        click.echo(f"error: {message}", err=True)
    if failed:
        raise CheckpointError(failed[-1])


def _one(name: str, catalog: Catalog) -> Published:
    one = by_name(Path(name).name, catalog)
    if one is None:
        raise UserError(f"{name}: no weights are published under this name; {how_to_get(Path(name), catalog)}")
    return one
