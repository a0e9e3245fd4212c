"""Classes of a Task: their number in the model, and their names for datasets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vidcore.config.bind import Binder
from vidcore.config.load import PARTS, Key, Loaded, Table
from vidcore.config.signature import read_signature
from vidcore.data.classes import MOST_CLASSES, read_classes
from vidcore.errors import UserError
from vidcore.plugins.catalog import Catalog, Component

__all__ = ["check_classes", "components", "num_classes", "share_classes"]


def num_classes(model: Any) -> int | None:
    """Return ``num_classes`` of a model's table, or else the highest of its parts: auxiliary heads may have fewer."""
    if not isinstance(model, dict):
        return None
    if isinstance(own := model.get("num_classes"), int):
        return own
    return max((n for n in map(num_classes, model.values()) if n is not None), default=None)


def share_classes(loaded: Loaded, catalog: Catalog, task: Table, at: Key) -> None:
    """Pass ``data.classes``, or else the model's number of classes, to datasets that accept it and set neither.

    A label out of range is then an error with file and line, not a failed assertion on a GPU. Datasets of
    ``data.train_extra`` get them if the model has one number of classes: otherwise each has a classifier of its own.
    """
    data = task.get("data")
    if not isinstance(data, dict):
        return
    wanted = num_classes(task.get("model"))
    shared, origin = ("classes", (*at, "data", "classes")) if "classes" in data else ("num_classes", (*at, "model"))
    value = data.get("classes", wanted)
    extra = data.get("train_extra") if wanted is not None else None
    parts: dict[Key, Any] = {(name,): data.get(name) for name in PARTS}
    parts |= {("train_extra", name): part for name, part in (extra.items() if isinstance(extra, dict) else ())}
    for key, part in parts.items():
        dataset = part.get("dataset") if isinstance(part, dict) else None
        for place, table, component in components(dataset, (*at, "data", *key, "dataset"), catalog):
            if value is None or component.kind != "datasets" or {"classes", "num_classes"} & table.keys():
                continue
            if shared in read_signature(component.target).parameters:
                table[shared] = value
                loaded.sources[*place, shared] = loaded.source(origin)


def components(value: Any, at: Key, catalog: Catalog) -> Iterator[tuple[Key, Table, Component]]:
    """Yield the key, the table and the component of each component in a value, including those inside others."""
    if isinstance(value, dict):
        if component := catalog.components.get(str(value.get("type"))):
            yield at, value, component
        for name, inner in value.items():
            yield from components(inner, (*at, name), catalog)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from components(inner, (*at, str(i)), catalog)


def check_classes(binder: Binder, task: Table, at: Key) -> None:
    """Refuse a file with more names than the classifier has outputs, before earlier stages run for days."""
    file, wanted = binder.paths.get((*at, "data", "classes")), num_classes(task.get("model"))
    if wanted is not None and not 1 <= wanted <= MOST_CLASSES:
        binder.problem((*at, "model"), f"num_classes is {wanted}; it must be from 1 to {MOST_CLASSES}")
        return
    if file is None or wanted is None or not file.is_file():
        return
    try:
        found = len(read_classes(file) or ())
    except UserError as error:
        binder.problem((*at, "data", "classes"), str(error))
        return
    if found > wanted:
        binder.problem((*at, "model"), f"num_classes is {wanted}, but {file} has {found} classes; set it to {found}")
