"""``data.labels`` and ``data.balance``: one key each for what several components must agree on.

Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidcore.config.bind import Binder, Call
from vidcore.config.load import Key, Loaded, Table, format_key
from vidcore.config.signature import read_signature
from vidcore.data.index import Ragged
from vidcore.errors import ConfigError, DataError, UserError
from vidcore.plugins.catalog import Catalog
from vidcore.protocols import ChecksLabels, Dataset
from vidcore.task.classes import components

__all__ = ["agree_on_labels", "check_dataset_labels", "check_labels", "share_labels"]

BALANCED = "balanced"
ARGUMENT = "multi_class"
"""Argument of datasets, heads and metrics that ``data.labels`` sets."""


def share_labels(loaded: Loaded, catalog: Catalog, task: Table, at: Key) -> None:
    """Set ``multi_class`` of the components that accept it, and ``data.train.balanced``, where a Task does not."""
    data = task.get("data")
    if not isinstance(data, dict):
        return
    if data.get("labels") == "multi":
        source = loaded.source((*at, "data", "labels"))
        for place, table, component in components(task, at, catalog):
            if ARGUMENT in read_signature(component.target).parameters and ARGUMENT not in table:
                table[ARGUMENT] = True
                loaded.sources[*place, ARGUMENT] = source
    train = data.get("train")
    if data.get("balance") == "sampling" and isinstance(train, dict) and BALANCED not in train:
        train[BALANCED] = True
        loaded.sources[*at, "data", "train", BALANCED] = loaded.source((*at, "data", "balance"))


def agree_on_labels(binder: Binder, task: Table, at: Key) -> None:
    """Report the values of a Task that contradict ``data.labels`` or ``data.balance``."""
    data = task["data"] if isinstance(task.get("data"), dict) else {}
    labels, balance = data.get("labels"), data.get("balance")
    extra = (*at, "data", "train_extra")  # these may be for a classifier of their own
    for place, table, _ in components(task, at, binder.catalog) if labels in ("single", "multi") else ():
        given = table.get(ARGUMENT)
        if isinstance(given, bool) and given != (labels == "multi") and place[: len(extra)] != extra:
            key = binder.loaded.place((*at, "data", "labels"))
            value = str(given).lower()
            binder.problem((*place, ARGUMENT), f'is {value}, which contradicts {key} = "{labels}": remove one of them')
    given = (data.get("train") or {}).get(BALANCED) if isinstance(data.get("train"), dict) else None
    if (balance == "sampling" and given is False) or (balance == "loss" and given is True):
        key, value = binder.loaded.place((*at, "data", "balance")), str(given).lower()
        where = (*at, "data", "train", BALANCED)
        binder.problem(where, f'is {value}, which contradicts {key} = "{balance}": remove one of them')


def check_labels(task: Any, parts: Mapping[str, ChecksLabels]) -> str | None:
    """Compare the built model and metrics with ``data.labels``, and return a sentence about what it sets.

    Args:
        task: the ``Task``.
        parts: model and metrics by their keys.

    Returns:
        None if the Task does not set ``data.labels``.

    Raises:
        ConfigError: lists all parts that such labels do not suit.
    """
    labels = task.get("data.labels")
    if labels is None:
        return None
    problems, said = [], []
    for key, part in parts.items():
        try:
            does = part.check_labels(labels)
        except UserError as error:
            problems.append(f'{key}: {error}, but data.labels is "{labels}"')
        else:
            said += [f"{key}: {does}"] if does else []
    if problems:
        raise ConfigError(problems)
    if labels == "multi" and (keys := _multi_label(task.get("data"), ("data",))):
        said.append(f"{ARGUMENT} = true in {', '.join(keys)}")
    return f'data.labels = "{labels}": {"; ".join(said)}'


def _multi_label(value: Any, at: Key) -> list[str]:
    if isinstance(value, Call):
        own = [format_key(at)] if value.arguments.get(ARGUMENT) is True else []
        return own + _multi_label(value.arguments, at)
    if isinstance(value, dict):
        return [key for name, inner in value.items() for key in _multi_label(inner, (*at, name))]
    if isinstance(value, list | tuple):
        return [key for i, inner in enumerate(value) for key in _multi_label(inner, (*at, str(i)))]
    return []


def check_dataset_labels(task: Any, part: str, dataset: Dataset) -> None:
    """Raise ``DataError`` if the labels of ``part`` (``"data.train"``) are not of the kind of ``data.labels``."""
    labels, found = task.get("data.labels"), dataset.labels
    if labels is None or found is None:
        return
    if isinstance(found, Ragged) != (labels == "multi"):
        kind = type(dataset).__name__
        has = "one label for each sample" if labels == "multi" else "several labels for a sample"
        raise DataError(f'{part}.dataset: {kind} has {has}, but data.labels is "{labels}"')
