"""The folder of a run: what is in it, and who may write there."""

from __future__ import annotations

import tomllib
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from vidcore.errors import UserError
from vidcore.files import Lock, write_text

__all__ = ["RunFolder", "differences", "identity"]


@frozen
class RunFolder:
    """Where everything of one run is."""

    path: Path
    changed: tuple[str, ...] = ()
    """Differences between the Task and that of the run so far, in sentences."""

    @property
    def task(self) -> Path:
        """The resolved Task."""
        return self.path / "task.toml"

    @property
    def metrics(self) -> Path:
        """One JSON object a line: what was logged."""
        return self.path / "metrics.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def bad_samples(self) -> Path:
        """One JSON object a line: what could not be loaded."""
        return self.path / "bad_samples.jsonl"

    @property
    def progress(self) -> Path:
        """The last evaluation and the best one."""
        return self.path / "progress.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to go on from; a run killed before its first begins anew."""
        return any(self.checkpoints.glob("epoch*-step*.pt"))

    def table(self) -> dict[str, Any]:
        """Read the Task of the run in this folder. Raises ``UserError`` where it is damaged."""
        try:
            table = tomllib.loads(self.task.read_text("utf-8", "surrogateescape"))
        except ValueError as error:
            raise UserError(f"{self.task}: is no longer a valid Task: {error}") from error
        data = table.get("data", {})
        if "train_also" in data:  # a run of before the key had its present name
            data["train_extra"] = data.pop("train_also")
        return table

    @classmethod
    def prepare(cls, path: str | Path, task: str, resume: bool = False) -> RunFolder:
        """Make the folder for a Task, or continue there. No other process may, as long as what it returns lives.

        Args:
            path: made where it does not exist.
            task: the resolved Task as TOML.
            resume: continue the run that is there (start it where there is none).

        Raises:
            UserError: the folder cannot be written, is in use, belongs to another Task, or holds a run and
                ``resume`` was not asked for. Nothing in it is changed.
        """
        run = cls(Path(path))
        if run.task.exists():
            old, new = run.table(), tomllib.loads(task)
            difference = next(differences(_learning(old), _learning(new)), None)
            if difference and (run.started or run.report.exists()):  # of one that failed at once nothing is to be kept
                raise UserError(
                    f"{run.path}: holds the run of another task: {difference}; choose another folder, and "
                    "train.weights to begin with what was learned here"
                )
            if run.started and not resume:
                raise UserError(f"{run.path}: already holds a run; resume it, or choose another folder")
            if run.started:
                run = evolve(run, changed=tuple(differences(old, new)))
        elif run.path.exists() and not run.path.is_dir():
            raise UserError(f"{run.path}: is a file, not a folder to write a run to")
        try:
            run.path.mkdir(parents=True, exist_ok=True)
            run._claim()
            write_text(run.task, task)
        except OSError as error:
            raise UserError(f"{run.path}: cannot be written: {error.strerror or error}") from error
        return run

    def _claim(self) -> None:
        """Keep other processes out until this object, or this process, is gone."""
        lock = Lock(self.path / ".lock")
        weakref.finalize(self, lock.release)
        if not lock.take():
            raise UserError(f"{self.path}: another process is running there; choose another folder")


def identity(task: Mapping[str, Any]) -> dict[str, Any]:
    """What of a Task its results depend on: not the machine; of ``train``, which is left out, others must know."""
    kept = {k: v for k, v in task.items() if k not in ("runtime", "train", "observers", "info")}
    return kept | {"data": _without_machine(task.get("data", {}))}


def _learning(task: Mapping[str, Any]) -> dict[str, Any]:
    """What of a Task must not change within a run: not how it is evaluated, whose mistakes may show after days."""
    kept = identity(task)
    data = {name: part for name, part in kept["data"].items() if name not in ("val", "test")}
    return {name: part for name, part in kept.items() if name != "metrics"} | {"data": data}


def _without_machine(data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data
    return {k: _without_machine(v) for k, v in data.items() if k not in ("workers", "prefetch", "time_limit")}


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Yield a text for each key whose value differs between two tables."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in {**old, **new}:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif old != new:
        there, here = ("nothing" if v is None else repr(v) for v in (old, new))
        yield f"{key} is {there} there and {here} here"
