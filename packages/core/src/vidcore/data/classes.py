"""Class names of a dataset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vidcore.errors import AnnotationError, CheckpointError, DataError, nearest

__all__ = ["MOST_CLASSES", "check_file", "names_beside_weights", "read_classes"]

MOST_CLASSES = 100_000
"""Higher class numbers are taken for damage: models and metrics need memory for every class below them."""


def check_file(file: Path, what: str) -> None:
    """Raise ``DataError``, with a suggestion, if the file does not exist."""
    if file.is_dir():
        raise DataError(f"{what} {file} is a folder, not a file")
    if not file.is_file():
        siblings = [p.name for p in file.parent.iterdir()] if file.parent.is_dir() else []
        raise DataError(f"{what} {file} does not exist{nearest(file.name, siblings)}")


def read_classes(classes: Path | Sequence[str] | None) -> tuple[str, ...] | None:
    """Return class names from a list, or from a file with one name per line; the first is class 0."""
    if classes is None:
        return None
    if isinstance(classes, Path):
        check_file(classes, "file of class names")
        names = classes.read_text("utf-8-sig", "surrogateescape").rstrip().splitlines()
        places = [f"{classes}:{line}" for line in range(1, len(names) + 1)]
    else:
        names = list(classes)
        places = [f"classes.{i}" for i in range(len(names))]
    if not names:
        raise DataError(f"{classes if isinstance(classes, Path) else 'classes'}: no class names")
    seen: dict[str, str] = {}
    for name, place in zip((n.strip() for n in names), places, strict=True):
        if not name:
            raise AnnotationError(f"{place}: an empty class name")
        if name in seen:
            raise AnnotationError(f"{place}: class name {name!r} is listed twice, first at {seen[name]}")
        seen[name] = place
    return tuple(seen)


def names_beside_weights(about: Mapping[str, Any], source: str = "weights") -> tuple[str, ...] | None:
    """Return the class names kept beside weights, by vidcore or in a published file; None if there are none.

    Args:
        about: everything in a checkpoint but the weights.
        source: where it comes from, for messages.

    Raises ``CheckpointError`` if they are not distinct names.
    """
    key, names, meta = "class_names", about.get("class_names"), about.get("meta")
    if names is None and isinstance(meta, Mapping) and isinstance(data := meta.get("dataset_meta"), Mapping):
        key, names = "meta.dataset_meta.classes", data.get("classes")
    if names is None:
        return None
    if not isinstance(names, list | tuple):
        raise CheckpointError(f"{source}: {key} must be a list of names, and is a {type(names).__name__}")
    for number, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise CheckpointError(f"{source}: {key}.{number} must be a name, and is {repr(name)[:60]}")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise CheckpointError(f"{source}: {key}: class name {twice!r} is listed twice")
    return tuple(names) or None
