"""A Task: checked, resolved, ready to build part by part."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from attrs import evolve, field, frozen

from vidcore.config.bind import Binder, Call, build
from vidcore.config.load import (
    Key,
    Loaded,
    Table,
    apply_shared_tables,
    format_key,
    load,
    load_table,
    override,
    recipes_like,
)
from vidcore.config.references import reference_problems
from vidcore.config.signature import read_signature
from vidcore.config.types import Record
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.errors import ConfigError, UserError
from vidcore.plugins.catalog import Catalog
from vidcore.protocols import Metric
from vidcore.task.classes import check_classes, share_classes
from vidcore.task.labels import agree_on_labels, share_labels
from vidcore.task.release import Release, is_release
from vidcore.weights.places import how_to_get, locate

__all__ = ["Task"]


@frozen
class Task:
    """A checked Task. Its parts are imported and built only by ``build``."""

    name: str
    table: Table
    """The resolved Task as plain data with absolute paths; as TOML, it loads as the same Task."""
    bound: Call
    catalog: Catalog
    paths: dict[str, Path] = field(factory=dict)
    """Paths in the Task that a run reads, by the file and key that contain them."""
    release: Release | None = None
    """The release file that this Task was read from, which also has the weights; None otherwise."""
    file: Path | None = None
    """Where it was read from; None for a recipe or a table."""

    @classmethod
    def load(cls, path: str | Path, catalog: Catalog, overrides: Sequence[str] = ()) -> Task:
        """Read and check a Task file, a recipe, or the Task in a release.

        Args:
            path: TOML file, the name of a recipe or its beginning, or a release (``.safetensors``).
            catalog: installed components, from ``load_plugins()``.
            overrides: ``KEY=VALUE`` strings, as in ``--set``.

        Raises:
            ConfigError: lists all problems, one per line.
            CheckpointError: the release is missing or damaged.
        """
        if is_release(path):
            return cls._released(Release.read(Path(path)), catalog, overrides)
        loaded = load(path, catalog.recipes, overrides)
        task = cls._checked(Path(loaded.main.name).name.removesuffix(".toml"), loaded, catalog)
        return evolve(task, file=Path(path)) if Path(path).is_file() else task

    @classmethod
    def from_table(cls, table: Table, catalog: Catalog, name: str = "task") -> Task:
        """Check a Task given as plain data; paths are relative to the current folder."""
        return cls._checked(name, load_table(table), catalog)

    @classmethod
    def _released(cls, release: Release, catalog: Catalog, overrides: Sequence[str]) -> Task:
        """Return the Task in a release. Overrides are those of the user, and may name files."""
        task = cls._checked(release.name, load_table(release.table(), str(release.path)), catalog)
        if problems := list(release.problems(task.bound, task.paths)):
            raise ConfigError(problems)
        if overrides:
            loaded = load_table(release.table(), str(release.path))
            for text in overrides:
                override(loaded, text)
            task = cls._checked(release.name, loaded, catalog)
        return evolve(task, release=release)

    @classmethod
    def _checked(cls, name: str, loaded: Loaded, catalog: Catalog) -> Task:
        apply_shared_tables(loaded)
        stages = loaded.data.get("stages") or {}
        parts: dict[Key, Any] = {("stages", n): part for n, part in stages.items()} if isinstance(stages, dict) else {}
        parts = parts or {(): loaded.data}
        for at, part in parts.items():
            if isinstance(part, dict):
                share_classes(loaded, catalog, part, at)
                share_labels(loaded, catalog, part, at)
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
                agree_on_labels(binder, part, at)
        if binder.problems:
            raise ConfigError(list(dict.fromkeys(binder.problems)))  # each part of the data repeats those of data.all
        table = copy.deepcopy(loaded.data)
        for key, path in binder.paths.items():
            _put(table, key, str(path))
        read = {loaded.place(key): path for key, path in binder.paths.items() if key[-2:] != ("runtime", "run_dir")}
        return cls(name, table, bound, catalog, read)

    def get(self, key: str) -> Any:
        """Return the checked, unbuilt value of a dotted key; None if it is absent."""
        at: Any = self.bound
        for name in key.split("."):
            at = at.arguments.get(name) if isinstance(at, Call) else at.get(name)
            if at is None:
                return None
        return at

    def build(self, key: str) -> Any:
        """Build the value of a dotted key (``"model"``, ``"data.train"``), or the default if it is absent.

        Raises ``UserError`` if a component rejects its arguments.
        """
        value = self.get(key)
        if value is None:
            default = {"train": TrainOptions, "runtime": RuntimeOptions, "metrics": dict, "observers": dict}.get(key)
            return default() if default else None
        return build(value)

    def metrics(self, part: str) -> dict[str, Metric]:
        """Build the metrics of ``data.<part>``: its own, or else those of the Task."""
        own: dict[str, Metric] = self.build(f"data.{part}.metrics") or self.build("metrics")
        return own

    @property
    def stages(self) -> dict[str, Task]:
        """The stages of this Task by name, in order; empty if it has none."""
        bound = self.get("stages") or {}
        return {n: Task(f"{self.name}.{n}", self.table["stages"][n], bound[n], self.catalog) for n in bound}

    def missing_files(self) -> list[str]:
        """Return a sentence for every file or folder in the Task that does not exist."""
        missing: dict[Path, str] = {}
        for place, path in self.paths.items():
            if path.exists():
                continue
            if WEIGHTS.search(place):
                if locate(path, self.catalog) is None:
                    missing.setdefault(path, f"{place}: {path} does not exist; {how_to_get(path, self.catalog)}")
            elif len(recipes_like(path.name, self.catalog.recipes)) != 1:
                missing.setdefault(path, f"{place}: {path} does not exist")
        return list(missing.values())

    def prediction_part(self) -> str:
        """Return the key of the data whose pipeline prepares videos for prediction: ``data.test`` or ``data.val``.

        Raises ``ConfigError`` if there is none, or no model.
        """
        self.require("model")
        part = next((p for p in ("data.test", "data.val") if self.get(p)), None)
        if part is None:
            raise ConfigError(f"{self.name}: data.test: is missing: its pipeline prepares the videos")
        return part

    def require(self, *keys: str) -> None:
        """Raise ``ConfigError`` if keys that a command requires are missing."""
        if stages := self.get("stages"):
            raise ConfigError(
                f"{self.name}: stages: this command takes the Task of one stage; the stages are {', '.join(stages)}"
            )
        missing = [k for k in keys if self.get(k) is None]
        if missing:
            raise ConfigError([f"{self.name}: {k}: is missing, and this command requires it" for k in missing])


WEIGHTS = re.compile(r"[ .](train\.weights(\..*)?|checkpoint)$")
"""Places of files of weights."""
OPTIONS = Record("vidcore.data.options:LoaderOptions")


def _option_problems(task: Call) -> Iterator[str]:
    """Yield problems of options with the right types: values that are out of range or contradict each other."""
    for part in (task, *(task.arguments.get("stages") or {}).values()):
        data = part.arguments.get("data")
        loaded = _loader_options(data.arguments) if data else ()
        for scored in (data.arguments.get(name) for name in ("val", "test")) if data else ():
            if isinstance(scored, Call) and scored.arguments.get("on_error") == "resample":
                place = f"{scored.source}: {format_key((*scored.key, 'on_error'))}"
                yield f'{place}: "resample" would score another sample in place of a bad one; use "skip"'
        for options in (part.arguments.get("train"), part.arguments.get("runtime"), *loaded):
            try:
                build(options)
            except UserError as error:
                yield str(error)


def _loader_options(data: dict[str, Any]) -> Iterator[Call]:
    """Yield the loader options in ``[data]``, without the datasets."""
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
