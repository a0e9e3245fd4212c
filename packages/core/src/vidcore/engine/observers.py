"""Built-in observers: fan-out and JSON lines."""

from __future__ import annotations

import json
import math
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vidcore.files import to_jsonable, write_text
from vidcore.locks import guard
from vidcore.mending import read_lines
from vidcore.protocols import Observer, StepValues

__all__ = ["JsonLines", "Observers", "Recorder", "log_record"]


class Observers(Observer):
    """Calls several observers. One that fails is named in a warning and removed; the run continues."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers = list(observers)

    def _call(self, method: str, *arguments: Any) -> None:
        for observer in list(self.observers):
            try:
                getattr(observer, method)(*arguments)
            except Exception as error:  # a logger must not cost a month of training
                self.observers.remove(observer)
                name = type(observer).__name__
                warnings.warn(f"observer {name} failed in {method} and will not be called again: {error}", stacklevel=3)

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._call("on_start", run_dir, info)

    def on_tick(self, epoch: int, step: int) -> None:
        self._call("on_tick", epoch, step)

    def on_step(self, epoch: int, step: int, values: StepValues) -> None:
        self._call("on_step", epoch, step, values)

    def on_epoch(self, epoch: int, values: StepValues) -> None:
        self._call("on_epoch", epoch, values)

    def on_progress(self, done: int, total: int) -> None:
        self._call("on_progress", done, total)

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        self._call("on_evaluation", epoch, step, scores)

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        self._call("on_checkpoint", path, epoch, step)

    def on_failure(self, error: BaseException) -> None:
        self._call("on_failure", error)

    def on_end(self, report: Mapping[str, Any]) -> None:
        self._call("on_end", report)

    @contextmanager
    def reporting_failure(self) -> Iterator[None]:
        """Call ``on_failure`` if an error ends the block."""
        try:
            yield
        except BaseException as error:
            self.on_failure(error)
            raise


class Recorder(Observer):
    """Base of loggers: ``record`` gets the values of steps, epochs and evaluations, each under one name."""

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._step = int(info.get("resumed_step", 0))

    def on_step(self, epoch: int, step: int, values: StepValues) -> None:
        self._step = step
        self.record("step", epoch, step, values.row())

    def on_epoch(self, epoch: int, values: StepValues) -> None:
        self.record("epoch", epoch, self._step, values.row())

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        self.record("evaluation", epoch, step, scores)

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Log the values of a ``step``, ``epoch`` or ``evaluation``."""
        raise NotImplementedError


def log_record(row: Any) -> dict[str, Any]:
    """Return a row of ``metrics.jsonl``: ``kind``, ``epoch``, ``step``, and numbers (or strings: "nan") by name.

    Raises ``ValueError``, ``TypeError``, ``LookupError`` or ``ArithmeticError`` if it is something else.
    """
    values = {**row}
    kind, step = values.pop("kind"), values.pop("step")
    if not isinstance(kind, str) or type(step) is not int or step < 0:
        raise TypeError(f"kind is {kind!r}, and step is {step!r}")
    for name, value in values.items():
        if not isinstance(value, str) and not -math.inf < float(value) < math.inf:
            raise ValueError(f"{name} is {value!r}")
    return {**row}


class JsonLines(Recorder):
    """Appends to ``metrics.jsonl``: one object per line with ``kind`` (step, epoch, evaluation), ``epoch``, ``step``.

    When a run resumes, lines of steps that are repeated are dropped, so that every step is there once.
    """

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        super().on_start(run_dir, info)
        path = guard(run_dir / "metrics.jsonl")
        last = {"evaluation": int(info.get("evaluated_step", -1))}
        kept = [row for row in read_lines(path, log_record) if row["step"] <= last.get(row["kind"], self._step)]
        if path.exists():
            write_text(path, "".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", encoding="utf-8", buffering=1)  # line by line
        weakref.finalize(self, self._file.close)

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps(to_jsonable({"kind": kind, "epoch": epoch, "step": step, **values})) + "\n")
