"""Weights by name: found on this machine, or downloaded from the mirrors of the user, with the progress shown."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from vidcore.errors import CheckpointError, UserError
from vidcore.plugins.catalog import Catalog
from vidcore.task.task import Task
from vidcore.tools.progress import Display, Work
from vidcore.weights.download import get
from vidcore.weights.mirrors import Mirror, mirrors
from vidcore.weights.places import how_to_get, locate
from vidcore.weights.published import Published, by_name

__all__ = ["fetch", "obtain", "weights_for"]

MEGABYTE = 1_000_000


def weights_for(task: Task, checkpoint: str | Path | None) -> Path:
    """Return the file of the weights for a Task.

    Args:
        task: with a model.
        checkpoint: the weights, or their name (``obtain``); default: those of the release that the Task is from, or the
            published file of the recipe.

    Raises:
        UserError: there is no default for a Task of the user.
        CheckpointError: the weights are not on this machine and cannot be downloaded.
    """
    if checkpoint is not None:
        return obtain(checkpoint, task.catalog)
    if task.release:
        return task.release.path
    file = task.table.get("info", {}).get("weights") if task.name in task.catalog.recipes else None
    if not file:
        raise UserError(f"{task.name}: needs weights: name a checkpoint, or a release")
    return obtain(file, task.catalog, f"{task.name}: needs weights")


def obtain(named: str | Path, catalog: Catalog, what: str = "") -> Path:
    """Return the file of weights that a user has named, downloading published ones if a mirror is configured.

    Args:
        named: a path, the name of a file in the folders of weights, or a recipe; see ``locate``.
        catalog: installed packages.
        what: the option or key, for messages.

    Raises:
        CheckpointError: the weights are not on this machine and cannot be downloaded.
        UserError: the name is the beginning of several.
    """
    named = Path(named)
    if (path := locate(named, catalog)) is not None:
        return path
    one, servers = by_name(named.name, catalog), mirrors()
    if one is None or not servers:
        before = f"{what}: " if what else ""
        raise CheckpointError(f"{before}{named} does not exist; {how_to_get(named, catalog)}")
    return fetch(one, servers)


def fetch(one: Published, servers: Sequence[Mirror], folder: Path | None = None) -> Path:
    """Return published weights, downloading them if necessary and showing the progress; see ``get``."""
    display = Display()
    work: Work | None = None

    def show(done: int, total: int | None) -> None:
        nonlocal work
        if work is None:
            print(f"downloading {one.file}", file=sys.stderr)
            work = Work("MB", round((total or 0) / MEGABYTE), done // MEGABYTE)
        work.total = round((total or done) / MEGABYTE)
        work.update(done // MEGABYTE)
        display.show(work)

    try:
        return get(one, servers, show, folder)
    finally:
        display.close()
