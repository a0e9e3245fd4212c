"""``data.labels`` and ``data.balance``: one key each for what several components must agree on.

Nothing here imports NumPy or torch.
"""

from __future__ import annotations

from vidcore.config.bind import Binder
from vidcore.config.load import Key, Loaded, Table
from vidcore.config.signature import read_signature
from vidcore.plugins.catalog import Catalog
from vidcore.task.classes import components

__all__ = ["ARGUMENT", "agree_on_labels", "share_labels"]

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
