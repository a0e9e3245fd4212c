"""Checks that build what a Task describes: they find what a run would refuse, before it starts."""

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

    What needs the files of an earlier stage is left out.

    Raises:
        ConfigError: with every problem, one line each.
    """
    _check(task, with_files=False)


def check_build(task: Task) -> None:
    """Build as ``check_parts`` does, load ``train.weights``, and build datasets to count their classes.

    What needs the files of an earlier stage is left out.

    Raises:
        ConfigError: with every problem, one line each.
    """
    _check(task, with_files=True)


def _check(task: Task, with_files: bool) -> None:
    problems: list[str] = []
    for stage in task.stages.values() or [task]:
        found = _Found(stage, problems)
        model = found.built("model")
        for key in ("param_groups", "optimizer", "schedule", "metrics", *(f"{p}.pipeline" for p in _parts(stage))):
            found.built(key)
        if with_files:
            if model is not None and not references(stage.table.get("train")):
                options = stage.build("train")
                found.tried(lambda: load_initial_weights(model, options))  # noqa: B023 - is called at once
            names = {part.removeprefix("data."): found.classes(part) for part in _parts(stage)}
            if names.get("train"):
                known = {part: n for part, n in names.items() if not part.startswith("train_extra.")}
                found.tried(lambda: check_class_names(known))  # noqa: B023
    if problems:
        raise ConfigError(problems)


def _parts(task: Task) -> Iterator[str]:
    yield from (f"data.{part}" for part in ("train", "val", "test") if task.get(f"data.{part}"))
    yield from (f"data.train_extra.{name}" for name in task.get("data.train_extra") or ())


@define
class _Found:
    """Builds parts of one Task and collects what they refuse."""

    task: Task
    problems: list[str] = field(factory=list)

    def built(self, key: str) -> Any:
        """Build what is at a key; None where that is not possible or the key is absent."""
        if references(reduce(lambda table, name: table.get(name, {}), key.split("."), self.task.table)):
            return None
        value = self.task.get(key)
        return self.tried(lambda: build(_of_one_weight(value) if key == "optimizer" else value))

    def classes(self, part: str) -> tuple[str, ...] | None:
        """Build the dataset of a part of the data and compare its classes with the model; return their names."""
        dataset = self.built(f"{part}.dataset")
        if dataset is None:
            return None
        if not part.startswith("data.train_extra."):  # their classes may be others
            self.tried(lambda: check_class_count(self.task, part, dataset))
        names: tuple[str, ...] | None = dataset.class_names
        return names

    def tried(self, act: Callable[[], Any]) -> Any:
        """Call ``act``; keep the sentences of the error that it raises."""
        try:
            return act()
        except (UserError, OSError) as error:
            self.problems += str(error).splitlines()
            return None


def _of_one_weight(optimizer: Call | None) -> Call | None:
    return optimizer and evolve(optimizer, arguments={**optimizer.arguments, "params": [nn.Parameter(zeros(1, 1))]})
