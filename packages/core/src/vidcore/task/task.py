"""The tables of a Task, and the Task itself: checked, resolved, ready to build piece by piece."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from vidcore.config.bind import Binder, Call, build
from vidcore.config.load import Key, Loaded, Table, load, load_table, spread
from vidcore.config.references import reference_problems, references
from vidcore.config.signature import read_signature
from vidcore.config.types import Record
from vidcore.data.classes import read_classes
from vidcore.data.options import LoaderOptions
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.errors import ConfigError, UserError
from vidcore.plugins.catalog import Catalog, Component
from vidcore.protocols import Dataset, Grouping, Job, Metric, Model, Observer, Optimizer, Schedule, Transform

__all__ = ["Data", "DataPart", "Task", "TaskTable", "num_classes"]


@frozen(kw_only=True)
class DataPart(LoaderOptions):
    """``[data.train]``, ``[data.val]``, ``[data.test]``: samples, what happens to them, how they are loaded."""

    dataset: Dataset
    pipeline: dict[str, Transform] = field(factory=dict)
    """Steps by name, in the order of first appearance; ``_after_``/``_before_`` place a new one."""


@frozen(kw_only=True)
class Data:
    """``[data]``."""

    classes: Path | None = None
    """File with one class name per line, for every data set that takes ``classes``."""
    train: DataPart | None = None
    train_extra: dict[str, DataPart] = field(factory=dict)
    """More training data by name: each step adds the losses of one batch of each. ``train`` says what an epoch is."""
    val: DataPart | None = None
    """Evaluated during training."""
    test: DataPart | None = None
    """Evaluated by ``vidcore test`` and at the end of a run; ``val`` where absent."""


@frozen(kw_only=True)
class Stage:
    """A model and what is done with it, or a job."""

    model: Model | None = None
    job: Job | None = None
    """Instead of a model: work that trains nothing, such as making files for other Tasks."""
    data: Data = field(factory=Data)
    train: TrainOptions = field(factory=TrainOptions)
    optimizer: Optimizer | None = None
    param_groups: Grouping | None = None
    """How the parameters are split into groups with their own learning rate and decay."""
    schedule: dict[str, Schedule] = field(factory=dict)
    """Learning-rate schedules by name; several act one after another on the same rate."""
    metrics: dict[str, Metric] = field(factory=dict)
    observers: dict[str, Observer] = field(factory=dict)
    runtime: RuntimeOptions = field(factory=RuntimeOptions)
    info: dict[str, Any] = field(factory=dict)
    """Facts for people and tools: paper, published scores, weights. Not interpreted."""


@frozen(kw_only=True)
class TaskTable(Stage):
    """A whole Task file."""

    stages: dict[str, Stage] = field(factory=dict)
    """Instead of all else: Tasks that are run one after the other."""


@frozen
class Task:
    """A checked Task. Nothing of it is imported or built until ``build``."""

    name: str
    table: Table
    """The resolved Task as plain data, paths absolute: written as TOML it gives the same Task."""
    bound: Call
    catalog: Catalog

    @classmethod
    def load(cls, path: str | Path, catalog: Catalog, overrides: Sequence[str] = ()) -> Task:
        """Read and check a Task file or recipe.

        Args:
            path: TOML file, or the name of a recipe.
            catalog: what is installed, from ``load_plugins()``.
            overrides: ``KEY=VALUE`` texts as of ``--set``.

        Raises:
            ConfigError: with every problem found, one line each.
        """
        loaded = load(path, catalog.recipes, overrides)
        return cls._checked(Path(path).name.removesuffix(".toml"), loaded, catalog)

    @classmethod
    def from_table(cls, table: Table, catalog: Catalog, name: str = "task") -> Task:
        """Check a Task given as plain data; relative paths mean the current folder."""
        return cls._checked(name, load_table(table), catalog)

    @classmethod
    def _checked(cls, name: str, loaded: Loaded, catalog: Catalog) -> Task:
        spread(loaded)
        stages = loaded.data.get("stages") or {}
        parts: dict[Key, Any] = {("stages", n): part for n, part in stages.items()} if isinstance(stages, dict) else {}
        parts = parts or {(): loaded.data}
        for at, part in parts.items():
            if isinstance(part, dict):
                _share_classes(loaded, catalog, part, at)
        binder = Binder(catalog, loaded)
        bound = binder.bind(loaded.data, Record(f"{__name__}:TaskTable"), ())
        for at, part in parts.items():
            if isinstance(part, dict) and ("model" in part) == ("job" in part):
                both = "a Task has a model or a job, not both" if "job" in part else "a Task needs a model, or a job"
                binder.problem((*at, "model"), f"is missing: {both}" if "model" not in part else both)
        binder.problems.extend(reference_problems(loaded))
        if not binder.problems:
            binder.problems.extend(_option_problems(bound))
            for at, part in parts.items():
                _check_classes(binder, part, at)
        if binder.problems:
            raise ConfigError(list(dict.fromkeys(binder.problems)))  # what is in data.all is bound for each part
        table = copy.deepcopy(loaded.data)
        for key, path in binder.paths.items():
            _put(table, key, str(path))
        return cls(name, table, bound, catalog)

    def get(self, key: str) -> Any:
        """The checked, unbuilt value at a dotted key; None where it is absent."""
        at: Any = self.bound
        for name in key.split("."):
            at = at.arguments.get(name) if isinstance(at, Call) else at.get(name)
            if at is None:
                return None
        return at

    def build(self, key: str) -> Any:
        """Build what is at a dotted key (``"model"``, ``"data.train"``); the default where it is absent.

        Raises ``UserError`` where a component refuses its arguments.
        """
        value = self.get(key)
        if value is None:
            default = {"train": TrainOptions, "runtime": RuntimeOptions, "metrics": dict, "observers": dict}.get(key)
            return default() if default else None
        return build(value)

    @property
    def stages(self) -> dict[str, Task]:
        """The Tasks that this one consists of, in order; none where it is one itself."""
        bound = self.get("stages") or {}
        return {n: Task(f"{self.name}.{n}", self.table["stages"][n], bound[n], self.catalog) for n in bound}

    def check_build(self) -> None:
        """Build all but data sets and jobs, to find what components refuse; takes as long as importing torch.

        What needs the files of a stage before is left out. Raises ``ConfigError`` with every problem, one line each.
        """
        problems: list[str] = []
        for task in self.stages.values() or [self]:
            parts = [f"data.{name}.pipeline" for name in ("train", "val", "test")]
            parts += [f"data.train_extra.{name}.pipeline" for name in task.get("data.train_extra") or ()]
            for key in ("model", "param_groups", "optimizer", "schedule", "metrics", *parts):
                if references(reduce(lambda table, name: table.get(name, {}), key.split("."), task.table)):
                    continue
                try:
                    build(_of_one_weight(task.get(key)) if key == "optimizer" else task.get(key))
                except UserError as error:
                    problems += str(error).splitlines()
        if problems:
            raise ConfigError(problems)

    def require(self, *keys: str) -> None:
        """Raise ``ConfigError`` naming the keys that this command needs and the Task lacks."""
        if stages := self.get("stages"):
            raise ConfigError(f"{self.name}: stages: this needs the Task of one stage, there are {', '.join(stages)}")
        missing = [k for k in keys if self.get(k) is None]
        if missing:
            raise ConfigError([f"{self.name}: {k}: is missing, and needed for this" for k in missing])


OPTIONS = Component("DataPart", "record", "vidcore.data.options:LoaderOptions", "")


def _of_one_weight(optimizer: Call | None) -> Call | None:
    from torch import nn, zeros

    return optimizer and evolve(optimizer, arguments={**optimizer.arguments, "params": [nn.Parameter(zeros(1, 1))]})


def _option_problems(task: Call) -> Iterator[str]:
    """What is wrong with options that have the right types: values out of range, or that exclude each other."""
    for part in (task, *(task.arguments.get("stages") or {}).values()):
        data = part.arguments.get("data")
        loaded = _loader_options(data.arguments) if data else ()
        for options in (part.arguments.get("train"), part.arguments.get("runtime"), *loaded):
            try:
                build(options)
            except UserError as error:
                yield str(error)


def _loader_options(data: dict[str, Any]) -> Iterator[Call]:
    """What ``[data]`` says of loading, without the data sets."""
    names = read_signature(OPTIONS.target).parameters
    for part in (*data.values(), *(data.get("train_extra") or {}).values()):
        if isinstance(part, Call):
            yield evolve(part, component=OPTIONS, arguments={n: v for n, v in part.arguments.items() if n in names})


def _check_classes(binder: Binder, task: Table, at: Key) -> None:
    """More names than the classifier has outputs must not wait for the data: the stages before may take days."""
    file, wanted = binder.paths.get((*at, "data", "classes")), num_classes(task.get("model"))
    if file is None or wanted is None or not file.is_file():
        return
    try:
        found = len(read_classes(file) or ())
    except UserError as error:
        binder.problem((*at, "data", "classes"), str(error))
        return
    if found > wanted:
        binder.problem((*at, "model"), f"num_classes is {wanted}, but {file} names {found} classes; set it to {found}")


def _share_classes(loaded: Loaded, catalog: Catalog, task: Table, at: Key) -> None:
    """Hand ``data.classes``, or else the model's number of classes, to data sets that take it and have neither.

    A label beyond the classifier is then an error with file and line, not a failed assertion on a GPU.
    """
    data = task.get("data")
    if not isinstance(data, dict):
        return
    wanted = num_classes(task.get("model"))
    shared, key = ("classes", (*at, "data", "classes")) if "classes" in data else ("num_classes", (*at, "model"))
    value = data.get("classes", wanted)
    for part in ("train", "val", "test"):
        for place, table in _datasets(data.get(part), (*at, "data", part)):
            if value is None or {"classes", "num_classes"} & table.keys():
                continue
            component = catalog.components.get(str(table.get("type")))
            if component and shared in read_signature(component.target).parameters:
                table[shared] = value
                loaded.sources[*place, shared] = loaded.source(key)


def _datasets(table: Any, at: Key) -> Iterator[tuple[Key, Table]]:
    """The data sets in a table, those within others (repeated, joined) as well, and where they stand."""
    if isinstance(table, dict):
        inner: dict[Key, Any] = {("dataset",): table.get("dataset")}
        parts = table.get("datasets")
        inner |= {("datasets", str(i)): part for i, part in enumerate(parts if isinstance(parts, list) else ())}
        for key, dataset in inner.items():
            if isinstance(dataset, dict):
                yield (*at, *key), dataset
                yield from _datasets(dataset, (*at, *key))


def num_classes(model: Any) -> int | None:
    """The highest ``num_classes`` in a model's table: auxiliary heads may have fewer."""
    if not isinstance(model, dict):
        return None
    found = [num_classes(value) for value in model.values()] + [model.get("num_classes")]
    return max((n for n in found if isinstance(n, int)), default=None)


def _put(table: Any, key: Key, value: Any) -> None:
    for name in key[:-1]:
        table = table[int(name)] if isinstance(table, list) else table[name]
    if isinstance(table, list):
        table[int(key[-1])] = value
    else:
        table[key[-1]] = value
