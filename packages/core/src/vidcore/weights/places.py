"""Where files of weights are on this machine: in the folders of the user, and in the cache of torch hub."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from vidcore.errors import nearest
from vidcore.plugins.catalog import Catalog
from vidcore.weights.published import by_name, is_weights_file, published

__all__ = ["FOLDERS", "download_folder", "find", "folders", "how_to_get", "is_published", "locate"]

FOLDERS = "VIDCORE_WEIGHTS"
"""Environment variable with folders of weights, separated as in ``PATH``."""


def folders() -> tuple[Path, ...]:
    """Return the folders that are searched for weights: those of ``VIDCORE_WEIGHTS``, then the cache of torch hub."""
    given = [Path(name).expanduser() for name in os.environ.get(FOLDERS, "").split(os.pathsep) if name]
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    hub = Path(os.environ.get("TORCH_HOME") or Path(cache) / "torch").expanduser() / "hub" / "checkpoints"
    return (*given, hub)


def download_folder() -> Path:
    """Return the folder that downloads are written to: the first of those that are searched."""
    return folders()[0]


def find(file: str) -> Path | None:
    """Return the path of a file with this name in the folders of weights; None if none has it."""
    return next((folder / file for folder in folders() if (folder / file).is_file()), None)


def locate(named: Path, catalog: Catalog) -> Path | None:
    """Return the file of weights that a user has named; None if it is not on this machine.

    Args:
        named: a path; if nothing exists there, its last part may be the name of a file in the folders of weights, or
            of a recipe with published weights, or the only beginning of one.
        catalog: installed packages.

    Raises:
        UserError: it is the beginning of several names.
    """
    if named.exists():
        return named
    if is_weights_file(named.name):
        return find(named.name)
    one = by_name(named.name, catalog)
    return find(one.file) if one else None


def is_published(path: Path, catalog: Catalog) -> bool:
    """Whether a file has the name of published weights. Whoever reads it compares the hash in the name."""
    return any(one.file == path.name for one in published(catalog).values())


def how_to_get(named: Path, catalog: Catalog) -> str:
    """Return what to do about weights that are not on this machine: ``"get it with ..."``, or the nearest name."""
    one = by_name(named.name, catalog)
    if one is not None:
        return f"get it with 'vidcore weights get {one.name}'"
    if named.name in catalog.recipes:
        return f"recipe {named.name} has no published weights: name a file"
    beside: list[str] = []
    with suppress(OSError):
        beside = os.listdir(named.parent)
    return nearest(named.name, [*beside, *published(catalog)]).removeprefix("; ") or "name another file"
