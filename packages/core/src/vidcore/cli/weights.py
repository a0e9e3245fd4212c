"""``vidcore weights``: files of published weights. torch is imported inside the commands that read them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
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

__all__ = ["convert", "find_", "get", "list_", "verify"]


def _complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    catalog: Catalog = ctx.find_root().obj.catalog
    return [CompletionItem(name) for name in published(catalog) if name.startswith(incomplete)]


names_argument = click.argument("names", nargs=-1, required=True, metavar="NAME...", shell_complete=_complete)


@click.command("list")
@click.argument("part", default="", shell_complete=_complete)
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
    *("--mirror", "addresses"),
    multiple=True,
    metavar="ADDRESS|REPOSITORY",
    help="Download from here; default: VIDCORE_MIRROR.",
)
@click.option("--dir", "folder", type=FOLDER, help="Folder to write to; default: the first folder of weights.")
@click.pass_obj
def get(context: Context, names: tuple[str, ...], addresses: tuple[str, ...], folder: Path | None) -> None:
    """Download the weights of recipes or files NAME.

    Prints their paths. Those that are on this machine are only verified. A mirror is an address with {path}, {file} or
    {name} in it, or OWNER/REPOSITORY of Hugging Face. An interrupted download resumes.
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


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME|FILE]...", shell_complete=_complete)
@click.pass_obj
def verify(context: Context, names: tuple[str, ...]) -> None:
    """Verify the hash of weights, their model, and a release's scores.

    NAME is a recipe or the name of a file; default: all published weights that are on this machine.
    """
    from vidcore.predict.verify import verify as verify_

    paths = [_path(name, context.catalog) for name in names] or list(_here(published(context.catalog).values()))
    if not paths:
        raise UserError(f"no published weights in {', '.join(map(str, folders()))}; name a file")
    failed = 0
    for path in paths:
        try:
            click.echo(f"{path}: {verify_(path, context.catalog)}")
        except UserError as error:
            failed += 1
            click.echo(f"error: {error}", err=True)
    if failed:
        sys.exit(2)


@click.command()
@names_argument
@click.option("--dir", "folder", type=FOLDER, default=".", help="Folder to write to; default: the current one.")
@click.option("--license", "license_name", metavar="NAME", help="License of the weights, such as CC-BY-4.0.")
@click.pass_obj
def convert(context: Context, names: tuple[str, ...], folder: Path, license_name: str | None) -> None:
    """Write published weights as a release in one file of safetensors.

    NAME is a recipe or the name of a file. The new file also has the class names, the model and the pipeline, what the
    model takes (frames of a clip and their distance, clips, crops), and published scores. If no installed package has
    the model, it has weights and class names only.
    """
    from vidcore.predict.verify import convert as convert_
    from vidcore.tools.fetch import obtain

    for name in names:
        _one(name, context.catalog)
        path = obtain(name, context.catalog)
        click.echo(f"wrote {convert_(path, context.catalog, folder, license_name)}")


def _one(name: str, catalog: Catalog) -> Published:
    one = by_name(Path(name).name, catalog)
    if one is None:
        raise UserError(f"{name}: no weights are published under this name; {how_to_get(Path(name), catalog)}")
    return one


def _path(name: str, catalog: Catalog) -> Path:
    path = locate(Path(name), catalog)
    if path is None:
        raise CheckpointError(f"{name}: is not on this machine; {how_to_get(Path(name), catalog)}")
    return path


def _here(all_of_them: Iterable[Published]) -> Iterable[Path]:
    files = dict.fromkeys(one.file for one in all_of_them)  # several recipes may share one
    return filter(None, map(find, files))
