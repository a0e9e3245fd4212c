"""Names and hashes of published weights, as packages list them beside their recipes. Nothing here imports torch."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from attrs import frozen

from vidcore.config.load import load
from vidcore.errors import UserError
from vidcore.plugins.catalog import Catalog

__all__ = ["Published", "by_name", "digest_in", "is_weights_file", "published"]

TABLE = "published.tsv"
"""File in a folder of recipes with the columns ``name`` and ``path``."""
SUFFIXES = (".pth", ".pt", ".ckpt", ".pyth", ".bin", ".safetensors")


@frozen
class Published:
    """A file of weights that somebody has published."""

    name: str
    """Of the recipe or configuration that it belongs to; the file name if there is none."""
    path: str
    """Where it is below the root of the server that published it; at least the file name."""

    @property
    def file(self) -> str:
        """The file name."""
        return PurePosixPath(self.path).name

    @property
    def digest(self) -> str | None:
        """First eight hexadecimal digits of the SHA-256, if the file name has them."""
        return digest_in(self.file)


def digest_in(file: str) -> str | None:
    """Return the first digits of the SHA-256 that the name of a file of weights ends in; None if it has none.

    >>> digest_in("resnet50-11ad3fa6.pth")
    '11ad3fa6'
    """
    found = re.search(r"-([0-9a-f]{8})\.(?:pth|pt|safetensors)$", file)
    return found[1] if found else None


def published(catalog: Catalog) -> dict[str, Published]:
    """Return all published weights by name: those in the tables of packages, or else in ``info.weights`` of recipes."""
    found: dict[str, Published] = {}
    for _, folder in catalog.recipe_folders:
        if (folder / TABLE).is_file():
            found |= {one.name: one for one in _rows(folder / TABLE)}
            continue
        for name, path in catalog.recipes.items():
            info = load(name, catalog.recipes).data.get("info", {}) if path.is_relative_to(folder) else {}
            if digest_in(file := str(info.get("weights"))):
                found[name] = Published(name, file)
    return dict(sorted(found.items()))


def by_name(name: str, catalog: Catalog) -> Published | None:
    """Return the published weights that a name stands for; None if there are none.

    Args:
        name: of a recipe or configuration, or the only beginning of one; or of a file.
        catalog: installed packages.

    Raises:
        UserError: the name is the beginning of several.
    """
    known = published(catalog)
    if is_weights_file(name):
        listed = next((one for one in known.values() if one.file == name), None)
        return listed or (Published(name, name) if digest_in(name) else None)
    if name in known or name in catalog.recipes:
        return known.get(name)
    begun = [one for one in known.values() if name and one.name.startswith(name)]
    if len(begun) > 1:
        some = f"{', '.join(one.name for one in begun[:3])}{', ...' * (len(begun) > 3)}"
        raise UserError(f"{name!r} is the beginning of {len(begun)} names of published weights: {some}")
    return begun[0] if begun else None


def is_weights_file(name: str) -> bool:
    """Whether a name is that of a file of weights, not of a recipe."""
    return name.endswith(SUFFIXES)


def _rows(table: Path) -> Iterator[Published]:
    with table.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            yield Published(row["name"], row["path"])
