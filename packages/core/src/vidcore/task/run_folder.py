"""The folder of a run: its files, and exclusive access to it."""

from __future__ import annotations

import tomllib
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve, frozen

from vidcore.data.policy import Failure
from vidcore.engine.observers import log_record
from vidcore.errors import UserError
from vidcore.files import write_text
from vidcore.locks import Lock, guard, make_folder, remove_leftovers
from vidcore.mending import mend_lines

__all__ = ["RunFolder", "differences", "identity", "own_folder"]


_RESTORE = "restore it, or delete it to resume with the Task that you give"


@frozen
class RunFolder:
    """Paths of the files of a run."""

    path: Path
    changed: tuple[str, ...] = ()
    """Sentences about differences between the Task and that of the run so far."""

    @property
    def task(self) -> Path:
        """The resolved Task."""
        return self.path / "task.toml"

    def log(self, rank: int) -> Path:
        """The log of a process."""
        return self.path / (f"log_rank{rank}.txt" if rank else "log.txt")

    @property
    def metrics(self) -> Path:
        """Log: one JSON object per line."""
        return self.path / "metrics.jsonl"

    @property
    def report(self) -> Path:
        return self.path / "report.json"

    @property
    def bad_samples(self) -> Path:
        """Samples that could not be loaded: one JSON object per line."""
        return self.path / "bad_samples.jsonl"

    @property
    def progress(self) -> Path:
        """The last and the best evaluation."""
        return self.path / "progress.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to resume from; a run killed before its first one starts over."""
        return any(self.checkpoints.glob("epoch*-step*.pt"))

    def table(self) -> dict[str, Any]:
        """Read the Task of the run in this folder. Raises ``UserError`` if it is damaged."""
        try:
            table = tomllib.loads(self.task.read_text("utf-8", "surrogateescape"))
            if not isinstance(data := table.get("data", {}), dict):
                raise ValueError(f"data is {data!r}, not a table")
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self.task}: is no longer a valid Task: {error}; {_RESTORE}") from None
        if "train_also" in data:  # the former name of the key
            data["train_extra"] = data.pop("train_also")
        return table

    @classmethod
    def prepare(cls, path: str | Path, task: str, resume: bool = False, before: str = "") -> RunFolder:
        """Create the folder of a run, or resume in it. It is locked as long as the returned object lives.

        Args:
            path: created if it does not exist.
            task: the resolved Task as TOML.
            resume: resume the run in the folder, or start one if there is none.
            before: a folder in paths of the old Task, if it has been moved to the parent of this one.

        Raises:
            UserError: the folder cannot be written, is in use, belongs to a different Task, or holds a run and
                ``resume`` is false. Nothing in it is changed.
        """
        run = cls(Path(path))
        if run.path.exists() and not run.path.is_dir():
            raise UserError(f"{run.path}: is a file, not a folder to write a run to")
        if run.task.exists():
            old, new = run.table(), tomllib.loads(task)
            if before:
                old = _moved(old, before, str(run.path.parent.absolute()))
            if new and not old and run.started:
                raise UserError(f"{run.task}: is empty; {_RESTORE}")
            difference = next(differences(_learning(old), _learning(new)), None)
            if difference and (run.started or run.report.exists()):  # a run that failed at once may be overwritten
                raise UserError(
                    f"{run.path}: holds the run of a different Task: {difference}; choose another folder, and set "
                    "train.weights to start from the weights of that run"
                )
            if run.started:
                run = evolve(run, changed=tuple(differences(old, new)))
        if run.started and not resume:
            raise UserError(f"{run.path}: already holds a run; resume it, or choose another folder")
        try:
            weakref.finalize(run, run.claim().release)
            if not run.started:
                run.forget_bad_samples()
            run._clean()
            write_text(run.task, task)
        except OSError as error:
            raise UserError(f"{run.path}: cannot be written: {error.strerror or error}") from error
        return run

    def forget_bad_samples(self) -> None:
        """Remove the lists of an earlier attempt, whose files may have been repaired since."""
        for path in self.path.glob("bad_samples*.jsonl"):
            guard(path).unlink(missing_ok=True)

    def claim(self) -> Lock:
        """Create and lock the folder, and remove what killed processes left in it.

        Raises ``UserError`` if another process has locked it, or the report would be written through a link.
        """
        make_folder(self.path)
        lock = Lock(self.path / ".lock")
        try:
            if not lock.take():
                raise UserError(f"{self.path}: is in use by another process; choose another folder")
            guard(self.report)
            remove_leftovers(self.path)
        except BaseException:
            lock.release()
            raise
        return lock

    def _clean(self) -> None:
        """Refuse links now rather than after days of training, and remove damaged lines."""
        lists = [self.bad_samples, *self.path.glob("bad_samples_*.jsonl")]
        best = self.checkpoints.glob("best*.pt")
        for path in (self.task, self.metrics, self.progress, self.checkpoints, *best, *lists):
            guard(path)
        mend_lines(self.metrics, log_record)
        for path in lists:
            mend_lines(path, Failure.from_row)


def own_folder(task: Path | None, run_dir: Path | None) -> Path | None:
    """Return the run folder that contains a Task file; None if the file is somewhere else.

    Args:
        task: file of the Task.
        run_dir: where it says that the run is; None if it does not.

    Raises ``UserError`` if that is a different folder, as after moving a run.
    """
    if task is None or task.name != "task.toml":
        return None
    here = RunFolder(task.parent)
    if not (here.started or any(here.path.glob("*/stage.json"))):
        return None
    if run_dir and run_dir.resolve() != here.path.resolve():
        raise UserError(
            f"{task}: belongs to the run in {here.path}, but sets runtime.run_dir to {run_dir}; resume the run in one "
            f"of them with --dir"
        )
    return here.path


def _moved(value: Any, old: str, new: str) -> Any:
    """Replace a folder by another in all paths of a table."""
    if isinstance(value, Mapping):
        return {name: _moved(inner, old, new) for name, inner in value.items()}
    if isinstance(value, list):
        return [_moved(inner, old, new) for inner in value]
    inside = isinstance(value, str) and value.startswith(f"{old}/")
    return new + value.removeprefix(old) if inside else value


def identity(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the results of a Task depend on: not the machine. Callers handle ``train``, which is left out."""
    kept = {k: v for k, v in task.items() if k not in ("runtime", "train", "observers", "info")}
    return kept | {"data": _without_machine(task.get("data", {}))}


def _learning(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must not change within a run; its evaluation may, since mistakes there may show up after days."""
    kept = identity(task)
    data = {name: part for name, part in kept["data"].items() if name not in ("val", "test")}
    return {name: part for name, part in kept.items() if name != "metrics"} | {"data": data}


def _without_machine(data: Any) -> Any:
    if not isinstance(data, Mapping):
        return data
    return {
        k: _without_machine(v) for k, v in data.items() if k not in ("workers", "prefetch", "time_limit", "bad_budget")
    }


def differences(old: Any, new: Any, key: str = "") -> Iterator[str]:
    """Yield a sentence for each key whose value differs between two tables."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in {**old, **new}:
            yield from differences(old.get(name), new.get(name), f"{key}.{name}" if key else name)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and _has_tables(old):
        for i, (before, now) in enumerate(zip(old, new, strict=True)):
            yield from differences(before, now, f"{key}.{i}")
    elif old != new:
        was, now = _shown(old), _shown(new)
        yield f"{key} was {was} and is {now}" if was != now else f"{key} has changed"


def _has_tables(values: list[Any]) -> bool:
    return any(isinstance(value, Mapping) for value in values)


def _shown(value: Any) -> str:
    """Return a value for a sentence: tables and long values are only named."""
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return str(value.get("type", "a table"))
    if isinstance(value, list) and (_has_tables(value) or len(repr(value)) > LONG):
        return f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= LONG else f"{text[: LONG // 2]}...{text[-LONG // 2 :]}"


LONG = 60
"""Columns of a value in a sentence."""
