"""Those who are told what happens in a run: a group of them, who write it down, and the console."""

from __future__ import annotations

import json
import math
import sys
import time
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from vidcore.files import plain, write_text
from vidcore.interfaces import Observer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Console", "JsonLines", "Observers", "Recorder"]


class Observers(Observer):
    """Tells several observers; one that fails is named and told nothing more, the run goes on."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self.observers = list(observers)

    def _tell(self, what: str, *arguments: Any) -> None:
        for observer in list(self.observers):
            try:
                getattr(observer, what)(*arguments)
            except Exception as error:  # a logger must not cost a month of training
                self.observers.remove(observer)
                name = type(observer).__name__
                warnings.warn(f"observer {name} failed in {what} and is left out from here: {error}", stacklevel=3)

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._tell("on_start", run_dir, info)

    def on_step(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        self._tell("on_step", epoch, step, values)

    def on_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self._tell("on_epoch", epoch, values)

    def on_progress(self, done: int, total: int) -> None:
        self._tell("on_progress", done, total)

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        self._tell("on_evaluation", epoch, step, scores)

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        self._tell("on_checkpoint", path, epoch, step)

    def on_failure(self, error: BaseException) -> None:
        self._tell("on_failure", error)

    def on_end(self, report: Mapping[str, Any]) -> None:
        self._tell("on_end", report)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Tell of the error that ends the block, if one does."""
        try:
            yield
        except BaseException as error:
            self.on_failure(error)
            raise


class Recorder(Observer):
    """Writes down what it is told of steps, epochs and evaluations: all of it comes to ``record``."""

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._step = int(info.get("resumed_step", 0))

    def on_step(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        self.record("step", epoch, step, values)

    def on_epoch(self, epoch: int, values: Mapping[str, float]) -> None:
        self.record("epoch", epoch, self._step, values)

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        self.record("evaluation", epoch, step, scores)

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        """Write values of a ``step``, ``epoch`` or ``evaluation`` down."""
        raise NotImplementedError


class JsonLines(Recorder):
    """Appends to ``metrics.jsonl``: one object a line with ``kind`` (step, epoch, evaluation), ``epoch``, ``step``.

    When a run resumes, the lines of steps that are done again are dropped: every step is there once.
    """

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        super().on_start(run_dir, info)
        path = run_dir / "metrics.jsonl"
        if path.exists():
            last = {"evaluation": int(info.get("evaluated_step", 0))}
            kept = []
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    record = json.loads(line)
                except ValueError:  # the line that a kill cut off
                    continue
                if record["step"] <= last.get(record["kind"], self._step):
                    kept.append(line + "\n")
            write_text(path, "".join(kept))
        self._file = path.open("a", encoding="utf-8", buffering=1)  # line by line
        weakref.finalize(self, self._file.close)

    def record(self, kind: str, epoch: int, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps(plain({"kind": kind, "epoch": epoch, "step": step, **values})) + "\n")


class Console(Observer):
    """A progress bar with the time left on a terminal; elsewhere a plain line now and then."""

    def __init__(self, seconds: float = 10.0) -> None:
        """
        Args:
            seconds: shortest time between two plain lines about steps.
        """
        self.seconds = seconds
        self.out: IO[str] = sys.stderr
        self._bar: Progress | None = None

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._steps, self._per_epoch = int(info["steps"]), int(info["steps_per_epoch"])
        self._epochs = math.ceil(self._steps / self._per_epoch)
        self._start, self._begun, self._said = int(info["resumed_step"]), time.monotonic(), -math.inf
        self._saved = self._start
        self._paused = 0.0  # seconds spent evaluating, which say nothing about the speed of steps
        self._evaluating: float | None = None
        if self.out.isatty():
            self._open_bar()
        if self._steps:
            length = f"{self._steps} steps ({self._epochs} epochs of {self._per_epoch})"
            where = f", from step {self._start} on" if self._start else ""
            self.say(f"{length}{where}; {info['parameters'] / 1e6:.2f} million parameters; writes to {run_dir}")
        for change in info.get("changes", ()):
            self.say(change)

    def _open_bar(self) -> None:
        from rich.console import Console as Terminal
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
        terminal = Terminal(file=self.out)
        self._bar = Progress(*columns, TextColumn("{task.fields[text]}"), console=terminal, speed_estimate_period=300)
        training = {"total": self._steps, "completed": self._start, "visible": self._steps > 0}
        self._training: TaskID = self._bar.add_task("training", text="", **training)  # type: ignore[arg-type]
        self._validation: TaskID = self._bar.add_task("evaluating", total=None, visible=False, text="")
        self._bar.start()

    def say(self, line: str) -> None:
        """Show a line; above the bar, where there is one."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self.out, flush=True)

    def on_step(self, epoch: int, step: int, values: Mapping[str, float]) -> None:
        shown = _short({k: v for k, v in values.items() if not k.startswith("seconds/")})
        spent = {k.removeprefix("seconds/"): v for k, v in values.items() if k.startswith("seconds/")}
        total = sum(spent.values())
        if total and spent.get("data", 0.0) > 0.5 * total:
            shown += f"  ({spent['data'] / total:.0%} of the time waiting for data)"
        if self._bar is not None:
            self._bar.update(self._training, completed=step, description=f"epoch {epoch}/{self._epochs}", text=shown)
        elif time.monotonic() - self._said >= self.seconds or step == self._steps:
            self._said = time.monotonic()
            per_step = (self._said - self._begun - self._paused) / max(1, step - self._start)
            left = timedelta(seconds=round((self._steps - step) * per_step))
            place = f"epoch {epoch}/{self._epochs}  step {step}/{self._steps}"
            self.say(f"{place}  {shown}  {per_step:.3g} s/step  left {left}")

    def on_progress(self, done: int, total: int) -> None:
        if self._evaluating is None:
            self._evaluating = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._validation, completed=done, total=total, visible=True)

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        if self._evaluating is not None:
            self._paused += time.monotonic() - self._evaluating
            self._evaluating = None
        if self._bar is not None:
            self._bar.update(self._validation, visible=False)
        if scores:  # a model may leave files for another one, and nothing to score
            self.say(f"epoch {epoch}  step {step}  evaluation: {_short(scores)}")

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        self._saved = step

    def on_failure(self, error: BaseException) -> None:
        self._close_bar()
        if self._steps and isinstance(error, KeyboardInterrupt):
            where = f"goes on from step {self._saved}" if self._saved else "begins anew: there is no checkpoint yet"
            self.say(f"stopped; --resume {where}")

    def on_end(self, report: Mapping[str, Any]) -> None:
        self._close_bar()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _short(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
