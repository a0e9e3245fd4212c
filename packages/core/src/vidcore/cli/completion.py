"""Completion of commands, recipes, kinds and keys in a shell, by click."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import BashComplete, CompletionItem, add_completion_class, get_completion_class

if TYPE_CHECKING:
    from vidcore.plugins.catalog import Catalog

__all__ = ["VARIABLE", "complete_files", "complete_keys", "complete_kinds", "complete_task", "completion", "use_bash"]

VARIABLE = "_VIDCORE_COMPLETE"
"""Environment variable with which a shell asks for completions."""


class Bash(BashComplete):
    """click's completion for bash, with files beside names, and no space after ``=`` and ``/``."""

    source_template = BashComplete.source_template.replace(
        "COMPREPLY+=($value)", 'COMPREPLY+=("$value")\n            [[ $value == *[=/] ]] && compopt -o nospace'
    )

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        items = super().get_completions(args, incomplete)
        if len(items) == 1:  # the shell itself completes files
            return items
        names = [item for item in items if item.type == "plain"]
        files = [] if len(names) == len(items) else sorted(glob.glob(f"{glob.escape(incomplete)}*"))
        return [*(CompletionItem(f"{file}/" if Path(file).is_dir() else file) for file in files), *names]


def use_bash() -> None:
    """Register ``Bash`` in the place of click's own."""
    add_completion_class(Bash)


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "fish", "zsh"]))
def completion(shell: str) -> None:
    """Print a script that lets SHELL complete vidcore's commands.

    Add a line to the start-up file of your shell (bash, fish or zsh):

    \b
    ~/.bashrc                    eval "$(vidcore completion bash)"
    ~/.zshrc                     eval "$(vidcore completion zsh)"
    ~/.config/fish/config.fish   vidcore completion fish | source
    """
    use_bash()
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(click.get_current_context().find_root().command, {}, "vidcore", VARIABLE).source())


def complete_task(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete a Task: recipes, and files."""
    names = [CompletionItem(name) for name in sorted(_catalog(ctx).recipes) if name.startswith(incomplete)]
    return [CompletionItem(incomplete, type="file"), *names]


def complete_files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete files and folders."""
    return [CompletionItem(incomplete, type="file")]


def complete_kinds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete a kind of ``vidcore list``."""
    return [kind for kind in (*_catalog(ctx).kinds, "recipes", "commands") if kind.startswith(incomplete)]


def complete_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete the key of ``--set``: those of the Task, of its components and of the options."""
    from vidcore.config.load import load
    from vidcore.errors import UserError

    catalog = _catalog(ctx)
    named = (ctx.params.get(name) for name in ("task", "source"))
    task = next(filter(None, named), "") or next(iter(ctx.args), "")  # there if the value is missing at the end
    try:
        table = load(task, catalog.recipes).data
    except UserError:  # not yet typed, say
        table = {}
    keys = dict.fromkeys(f"{key}=" for key in _keys(table, catalog))
    return sorted(key for key in keys if key.startswith(incomplete))


OPTIONS = {
    "train": "vidcore.engine.options:TrainOptions",
    "runtime": "vidcore.engine.options:RuntimeOptions",
    "data.train": "vidcore.task.schema:DataPart",
    "data.val": "vidcore.task.schema:DataPart",
    "data.test": "vidcore.task.schema:DataPart",
}
"""Signatures of tables by their keys."""


def _keys(table: Mapping[str, Any], catalog: Catalog) -> Iterator[str]:
    """Yield the dotted keys of values in a Task, and of further arguments that its tables take."""
    from vidcore.config.signature import read_signature
    from vidcore.errors import PluginError

    def parameters(target: str) -> Iterable[str]:
        try:
            return read_signature(target).parameters
        except PluginError:  # its library is not installed
            return ()

    def below(value: Mapping[str, Any], at: str) -> Iterator[str]:
        component = catalog.components.get(str(value.get("type")))
        target = OPTIONS.get(at) or (component.target if component else None)
        inside = dict.fromkeys(parameters(target)) if target else {}
        for name, inner in {**inside, **value}.items():
            key = f"{at}.{name}" if at else name
            if isinstance(inner, Mapping):
                yield from below(inner, key)
            else:
                yield key

    yield from below({name: {} for name in ("train", "runtime")} | dict(table), "")


def _catalog(ctx: click.Context) -> Catalog:
    found: Catalog = ctx.find_root().obj.catalog
    return found
