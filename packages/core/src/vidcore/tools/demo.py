"""What ``vidcore demo ... DIR`` commands share: options, a folder of labelled files, and the command to run next."""

from __future__ import annotations

import csv
import functools
import shlex
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click

from vidcore.errors import UserError
from vidcore.tools.progress import progress_bar

__all__ = ["count_option", "demo_options", "say_next", "write_labelled", "write_rows"]


Command = Callable[..., None]


def demo_options(command: Command) -> Command:
    """Give a command the argument DIR and the options ``--seed`` and ``--force``.

    The command gets ``folder`` (a path), which is empty unless the user wants it so, and ``seed``.

    Raises:
        UserError: DIR holds files, and ``--force`` is not given.
    """

    @click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
    @click.option(
        "--seed", type=click.IntRange(min=0), metavar="N", default=0, show_default=True, help="Random seed of the data."
    )
    @click.option("--force", is_flag=True, help="Write into DIR even if it is not empty.")
    @functools.wraps(command)
    def checked(folder: Path, force: bool, **options: object) -> None:
        if folder.exists() and any(folder.iterdir()) and not force:
            raise UserError(f"{folder} is not empty; choose another folder, or use --force to write into this one")
        command(folder=folder, **options)

    return checked


def count_option(name: str, default: int, help_: str, least: int = 2) -> Callable[[Command], Command]:
    """Return a decorator that gives a command an option for a number of files, at least ``least``."""
    number = click.IntRange(min=least)
    return click.option(name, type=number, metavar="N", default=default, show_default=True, help=help_)


def write_labelled(
    folder: Path, task_file: Path, classes: Iterable[str], per_class: int, write: Callable[[Path, str, int, int], Path]
) -> None:
    """Write files of every class, their lists and a Task, and say how to train on them.

    Args:
        folder: gets ``videos``, ``train.csv``, ``val.csv`` (a fifth of each class), ``classes.txt`` and ``task.toml``.
        task_file: copied as ``task.toml``.
        classes: names of the classes.
        per_class: number of files of each class, at least 2.
        write: writes one file into a folder and returns its path; arguments: the folder, the class, the number of
            the file within its class, its number among all files.
    """
    labels, videos = list(classes), folder / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    held_out = max(1, per_class // 5)
    rows: dict[str, list[tuple[str, str]]] = {"train": [], "val": []}
    files = [(number, label) for number in range(per_class) for label in labels]
    for index, (number, label) in enumerate(progress_bar(files, "rendering")):
        name = write(videos, label, number, index).name
        rows["val" if number < held_out else "train"].append((name, label))
    for part, listed in rows.items():
        write_rows(folder / f"{part}.csv", ("path", "label"), listed)
    (folder / "classes.txt").write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")
    shutil.copyfile(task_file, folder / "task.toml")
    click.echo(f"{len(rows['train'])} training and {len(rows['val'])} validation videos in {folder}")
    say_next("vidcore", "run", folder / "task.toml")


def write_rows(file: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write an annotation file: a CSV table with a head."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        csv.writer(opened, lineterminator="\n").writerows([head, *rows])


def say_next(*words: str | Path) -> None:
    """Print the command to run next, quoted for a shell."""
    click.echo(f"Next: {shlex.join(map(str, words))}")
