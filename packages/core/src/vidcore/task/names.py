"""Class names of a trained model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vidcore.data.classes import names_beside_weights, read_classes
from vidcore.errors import UserError
from vidcore.task.classes import num_classes
from vidcore.task.task import Task

__all__ = ["check_names", "known_names"]


def known_names(task: Task, about: Mapping[str, Any], source: str) -> tuple[str, ...] | None:
    """Return the class names of a model: those beside its weights, in ``data.classes``, or shipped for its dataset.

    Args:
        task: of the model.
        about: what the file of weights has beside them.
        source: that file, for messages.

    Raises:
        UserError: there are more or fewer names than outputs of the model.
    """
    names = names_beside_weights(about, source)
    if names is None and (file := task.get("data.classes")) and file.is_file():
        names = read_classes(file)
    outputs = num_classes(task.table["model"])
    if names and outputs is not None and len(names) > outputs:
        raise UserError(f"{source}: has {len(names)} class names, but {task.name} predicts {outputs} classes")
    check_names(task, names, outputs)
    if names is not None:
        return names
    info = task.table.get("info", {})
    shipped = read_classes(task.catalog.class_list(info.get("dataset")))
    if outputs is None and Path(source).name == info.get("weights"):  # of a model with several classifiers
        return shipped
    return shipped if shipped and len(shipped) == outputs else None  # a Task may extend the recipe


def check_names(task: Task, names: tuple[str, ...] | None, outputs: int | None) -> None:
    """Raise ``UserError`` if there are fewer class names than outputs of the model."""
    if names and outputs is not None and len(names) < outputs:
        file = task.get("data.classes")
        where = f"{file}: " if file else ""
        raise UserError(
            f"{where}{task.name} has {len(names)} class names, but its model predicts {outputs} classes; list all in "
            "data.classes, one name per line"
        )
