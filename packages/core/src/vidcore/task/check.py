"""Checks that build the parts of a Task, to find before a run what it would refuse."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from typing import Any

from attrs import define, evolve, field
from torch import nn, zeros

from vidcore.config.bind import Call, build
from vidcore.config.references import references
from vidcore.engine.schedule_notes import schedule_notes
from vidcore.engine.schedules import ReduceOnPlateauLR, Schedule
from vidcore.errors import ConfigError, UserError
from vidcore.protocols import Dataset
from vidcore.task.context import check_class_count
from vidcore.task.initial import load_initial_weights
from vidcore.task.label_checks import check_dataset_labels, check_labels
from vidcore.task.notes import data_notes
from vidcore.task.sides import flip_notes
from vidcore.task.task import Task
from vidcore.task.train import check_class_names

__all__ = ["check_build", "check_parts"]


def check_parts(task: Task) -> None:
    """Build models, optimizers, schedules, metrics and pipelines, but open neither data nor weights.

    Parts that require files of an earlier stage are skipped.

    Raises:
        ConfigError: lists all problems, one per line.
    """
    _check(task, with_files=False)


def check_build(task: Task) -> list[str]:
    """Build as ``check_parts`` does, load ``train.weights``, and build datasets to count their classes.

    Parts that require files of an earlier stage are skipped.

    Returns:
        The notes that a run would print about schedules and data.

    Raises:
        ConfigError: lists all problems, one per line.
    """
    return _check(task, with_files=True)


def _check(task: Task, with_files: bool) -> list[str]:
    problems: list[str] = []
    notes: list[str] = []
    for stage in task.stages.values() or [task]:
        builder = _Builder(stage, problems)
        model = builder.build("model")
        schedules = builder.build("schedule") or {}
        for key in ("param_groups", "optimizer", *(f"{part}.pipeline" for part in _parts(stage))):
            builder.build(key)
        measured = {key: builder.build(key) or {} for key in ("metrics", *(f"{p}.metrics" for p in _parts(stage)))}
        checked = {f"{key}.{name}": metric for key, metrics in measured.items() for name, metric in metrics.items()}
        builder.attempt(lambda: check_labels(stage, checked | ({} if model is None else {"model": model})))  # noqa: B023
        if with_files:
            if model is not None and not references(stage.table.get("train")):
                options = stage.build("train")
                builder.attempt(lambda: load_initial_weights(model, options, task.catalog))  # noqa: B023
            built = {part.removeprefix("data."): builder.dataset(part) for part in _parts(stage)}
            datasets = {part: dataset for part, dataset in built.items() if dataset is not None}
            names = {part: dataset.class_names for part, dataset in datasets.items()}
            if names.get("train"):
                known = {part: n for part, n in names.items() if not part.startswith("train_extra.")}
                builder.attempt(lambda: check_class_names(known))  # noqa: B023
            if not problems:
                notes += _schedule_notes(stage, schedules, datasets.get("train"))
                notes += data_notes(datasets)
                notes += flip_notes(stage, {part: n for part, n in names.items() if part.startswith("train")})
    if problems:
        raise ConfigError(problems)
    return list(dict.fromkeys(notes))


def _schedule_notes(
    task: Task, schedules: Mapping[str, Schedule | ReduceOnPlateauLR], dataset: Dataset | None
) -> list[str]:
    if dataset is None:
        return []
    options, part = task.build("train"), task.get("data.train").arguments
    batches = len(dataset) / part.get("batch_size", 1)
    per_epoch = options.steps_per_epoch(max(1, math.floor(batches) if part.get("drop_last") else math.ceil(batches)))
    rate = (task.table.get("optimizer") or {}).get("lr", 1.0)
    return schedule_notes(schedules, per_epoch, options.total_steps(per_epoch), rate)


def _parts(task: Task) -> Iterator[str]:
    yield from (f"data.{part}" for part in ("train", "val", "test") if task.get(f"data.{part}"))
    yield from (f"data.train_extra.{name}" for name in task.get("data.train_extra") or ())


@define
class _Builder:
    """Builds parts of one Task and collects their errors."""

    task: Task
    problems: list[str] = field(factory=list)

    def build(self, key: str) -> Any:
        """Build the value of a key; None if that fails or the key is absent."""
        if references(reduce(lambda table, name: table.get(name, {}), key.split("."), self.task.table)):
            return None
        value = self.task.get(key)
        return self.attempt(lambda: build(_of_one_weight(value) if key == "optimizer" else value))

    def dataset(self, part: str) -> Dataset | None:
        """Build the dataset of a part of the data and compare its classes with the model."""
        dataset: Dataset | None = self.build(f"{part}.dataset")
        if dataset is not None and not part.startswith("data.train_extra."):  # their classes may differ
            self.attempt(lambda: check_class_count(self.task, part, dataset))
            self.attempt(lambda: check_dataset_labels(self.task, part, dataset))
        return dataset

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Call ``action``; collect the lines of the error that it raises."""
        try:
            return action()
        except (UserError, OSError) as error:
            self.problems += str(error).splitlines()
            return None


def _of_one_weight(optimizer: Call | None) -> Call | None:
    return optimizer and evolve(optimizer, arguments={**optimizer.arguments, "params": [nn.Parameter(zeros(1, 1))]})
