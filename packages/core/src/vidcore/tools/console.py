"""The console of a run: a progress bar or plain lines."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from attrs import evolve

from vidcore.protocols import Observer, StepValues

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

__all__ = ["Console"]


class Console(Observer):
    """A progress bar with the remaining time on a terminal; elsewhere a plain line now and then."""

    def __init__(self, seconds: float = 10.0) -> None:
        """
        Args:
            seconds: minimum time between two plain lines about steps.
        """
        self.seconds = seconds
        self.out: IO[str] = sys.stderr
        self._bar: Progress | None = None

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        self._steps, self._per_epoch = int(info["steps"]), int(info["steps_per_epoch"])
        self._epochs = math.ceil(self._steps / self._per_epoch)
        self._start, self._begun, self._said = int(info["resumed_step"]), time.monotonic(), -math.inf
        self._saved = self._start
        self._paused = 0.0  # seconds of evaluations, which do not count for the speed of steps
        self._evaluating: float | None = None
        if self.out.isatty():
            self._open_bar()
        if self._steps:
            length = f"{self._steps} steps ({self._epochs} epochs of {self._per_epoch})"
            where = f", from step {self._start}" if self._start else ""
            self.say(f"{length}{where}; {info['parameters'] / 1e6:.2f} million parameters; writes to {run_dir}")
        for note in info.get("notes", ()):
            self.say(note)

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
        """Print a line, above the bar if there is one."""
        if self._bar is not None:
            self._bar.console.print(line, highlight=False, markup=False)
        else:
            print(line, file=self.out, flush=True)

    def on_step(self, epoch: int, step: int, values: StepValues) -> None:
        shown = _short(evolve(values, seconds={}).row())
        waiting, total = values.seconds.get("data", 0.0), sum(values.seconds.values())
        if waiting > 0.5 * total:
            shown += f"  ({waiting / total:.0%} of the time waiting for data)"
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
        if scores:  # a model may only write files for another one
            self.say(f"epoch {epoch}  step {step}  evaluation: {_short(scores)}")

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        self._saved = step

    def on_failure(self, error: BaseException) -> None:
        self._close_bar()
        if self._steps and isinstance(error, KeyboardInterrupt):
            where = f"resumes at step {self._saved}" if self._saved else "starts over (no checkpoint yet)"
            self.say(f"stopped; --resume {where}")

    def on_end(self, report: Mapping[str, Any]) -> None:
        self._close_bar()

    def _close_bar(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _short(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
