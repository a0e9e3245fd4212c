"""A Task: checked, resolved, ready to build piece by piece."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from vidcore.config.bind import Binder, Call, build
from vidcore.config.load import Key, Loaded, Table, apply_shared_tables, load, load_table
from vidcore.config.references import reference_problems
from vidcore.config.signature import read_signature
from vidcore.config.types import Record
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.errors import ConfigError, UserError
from vidcore.plugins.catalog import Catalog
from vidcore.task.classes import check_classes, share_classes

__all__ = ["Task"]


@frozen
class Task:
    """A checked Task. Nothing of it is imported or built until ``build``."""

    name: str
    table: Table
    """The resolved Task as plain data, paths absolute: written as TOML it gives the same Task."""
    bound: Call
    catalog: Catalog
    paths: dict[str, Path] = field(factory=dict)
    """Every path in the Task that a run reads, by the file and key where it stands."""

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
        apply_shared_tables(loaded)
        stages = loaded.data.get("stages") or {}
        parts: dict[Key, Any] = {("stages", n): part for n, part in stages.items()} if isinstance(stages, dict) else {}
        parts = parts or {(): loaded.data}
        for at, part in parts.items():
            if isinstance(part, dict):
                share_classes(loaded, catalog, part, at)
        binder = Binder(catalog, loaded)
        bound = binder.bind(loaded.data, Record("vidcore.task.schema:TaskTable"), ())
        for at, part in parts.items():
            if isinstance(part, dict) and ("model" in part) == ("job" in part):
                both = "a Task has a model or a job, not both" if "job" in part else "a Task needs a model, or a job"
                binder.problem((*at, "model"), f"is missing: {both}" if "model" not in part else both)
        binder.problems.extend(reference_problems(loaded))
        if not binder.problems:
            binder.problems.extend(_option_problems(bound))
            for at, part in parts.items():
                check_classes(binder, part, at)
        if binder.problems:
            raise ConfigError(list(dict.fromkeys(binder.problems)))  # what is in data.all is bound for each part
        table = copy.deepcopy(loaded.data)
        for key, path in binder.paths.items():
            _put(table, key, str(path))
        read = {loaded.place(key): path for key, path in binder.paths.items() if key[-2:] != ("runtime", "run_dir")}
        return cls(name, table, bound, catalog, read)

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

    def missing_files(self) -> list[str]:
        """Return a sentence for every file or folder that the Task names and that does not exist."""
        missing: dict[Path, str] = {}
        for place, path in self.paths.items():
            if not path.exists() and path.name not in self.catalog.recipes:
                missing.setdefault(path, f"{place}: {path} does not exist")
        return list(missing.values())

    def require(self, *keys: str) -> None:
        """Raise ``ConfigError`` naming the keys that this command needs and the Task lacks."""
        if stages := self.get("stages"):
            raise ConfigError(f"{self.name}: stages: this needs the Task of one stage, there are {', '.join(stages)}")
        missing = [k for k in keys if self.get(k) is None]
        if missing:
            raise ConfigError([f"{self.name}: {k}: is missing, and needed for this" for k in missing])


OPTIONS = Record("vidcore.data.options:LoaderOptions")


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


def _put(table: Any, key: Key, value: Any) -> None:
    for name in key[:-1]:
        table = table[int(name)] if isinstance(table, list) else table[name]
    if isinstance(table, list):
        table[int(key[-1])] = value
    else:
        table[key[-1]] = value
