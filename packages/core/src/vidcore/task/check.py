"""Checks that build the parts of a Task, to find before a run what it would refuse."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from attrs import define, evolve, field
from torch import nn, zeros

from vidcore.config.bind import Call, build
from vidcore.config.references import references
from vidcore.errors import ConfigError, UserError
from vidcore.task.context import check_class_count, load_initial_weights
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


def check_build(task: Task) -> None:
    """Build as ``check_parts`` does, load ``train.weights``, and build datasets to count their classes.

    Parts that require files of an earlier stage are skipped.

    Raises:
        ConfigError: lists all problems, one per line.
    """
    _check(task, with_files=True)


def _check(task: Task, with_files: bool) -> None:
    problems: list[str] = []
    for stage in task.stages.values() or [task]:
        builder = _Builder(stage, problems)
        model = builder.build("model")
        for key in (
            "param_groups",
            "optimizer",
            "schedule",
            "metrics",
            *(f"{p}.{k}" for p in _parts(stage) for k in ("pipeline", "metrics")),
        ):
            builder.build(key)
        if with_files:
            if model is not None and not references(stage.table.get("train")):
                options = stage.build("train")
                builder.attempt(lambda: load_initial_weights(model, options))  # noqa: B023 - is called at once
            names = {part.removeprefix("data."): builder.class_names(part) for part in _parts(stage)}
            if names.get("train"):
                known = {part: n for part, n in names.items() if not part.startswith("train_extra.")}
                builder.attempt(lambda: check_class_names(known))  # noqa: B023
    if problems:
        raise ConfigError(problems)


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

    def class_names(self, part: str) -> tuple[str, ...] | None:
        """Build the dataset of a part of the data and compare its classes with the model; return their names."""
        dataset = self.build(f"{part}.dataset")
        if dataset is None:
            return None
        if not part.startswith("data.train_extra."):  # their classes may differ
            self.attempt(lambda: check_class_count(self.task, part, dataset))
        names: tuple[str, ...] | None = dataset.class_names
        return names

    def attempt(self, action: Callable[[], Any]) -> Any:
        """Call ``action``; collect the lines of the error that it raises."""
        try:
            return action()
        except (UserError, OSError) as error:
            self.problems += str(error).splitlines()
            return None


def _of_one_weight(optimizer: Call | None) -> Call | None:
    return optimizer and evolve(optimizer, arguments={**optimizer.arguments, "params": [nn.Parameter(zeros(1, 1))]})
