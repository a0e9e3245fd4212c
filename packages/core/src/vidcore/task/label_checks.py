"""Comparison of ``data.labels`` with what is built: datasets, models and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vidcore.config.bind import Call
from vidcore.config.load import Key, format_key
from vidcore.data.index import Ragged
from vidcore.errors import ConfigError, DataError, UserError
from vidcore.protocols import ChecksLabels, Dataset
from vidcore.task.labels import ARGUMENT
from vidcore.task.task import Task

__all__ = ["check_dataset_labels", "check_labels"]


def check_labels(task: Task, parts: Mapping[str, ChecksLabels]) -> str | None:
    """Compare the built model and metrics with ``data.labels``, and return a sentence about what it sets.

    Args:
        task: the Task.
        parts: model and metrics by their keys.

    Returns:
        None if the Task does not set ``data.labels``, or it sets nothing.

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
    return f'data.labels = "{labels}": {"; ".join(said)}' if said else None


def _multi_label(value: Any, at: Key) -> list[str]:
    if isinstance(value, Call):
        own = [format_key(at)] if value.arguments.get(ARGUMENT) is True else []
        return own + _multi_label(value.arguments, at)
    if isinstance(value, dict):
        return [key for name, inner in value.items() for key in _multi_label(inner, (*at, name))]
    if isinstance(value, list | tuple):
        return [key for i, inner in enumerate(value) for key in _multi_label(inner, (*at, str(i)))]
    return []


def check_dataset_labels(task: Task, part: str, dataset: Dataset) -> None:
    """Raise ``DataError`` if the labels of ``part`` (``"data.train"``) are not of the kind of ``data.labels``."""
    labels, found = task.get("data.labels"), dataset.labels
    if labels is None or found is None:
        return
    if isinstance(found, Ragged) != (labels == "multi"):
        kind = type(dataset).__name__
        has = "one label for each sample" if labels == "multi" else "several labels for a sample"
        raise DataError(f'{part}.dataset: {kind} has {has}, but data.labels is "{labels}"')
