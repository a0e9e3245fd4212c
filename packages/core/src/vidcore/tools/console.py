"""The console of a run: its progress, and a line for whatever happens."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from attrs import evolve

from vidcore.protocols import Observer, StepValues
from vidcore.tools.progress import Display, Work

__all__ = ["Console"]


class Console(Observer):
    """Shows the progress of training and evaluations with the time left, and prints scores."""

    def __init__(self, seconds: float = 10.0) -> None:
        """
        Args:
            seconds: time between two plain lines, if the output is not a terminal.
        """
        self.seconds = seconds
        self.out: IO[str] = sys.stderr
        self._display: Display | None = None

    def on_start(self, run_dir: Path, info: Mapping[str, Any]) -> None:
        steps, per_epoch = int(info["steps"]), int(info["steps_per_epoch"])
        self._start, self._epochs = int(info["resumed_step"]), math.ceil(steps / per_epoch)
        self._saved = self._start
        self._display = Display(self.out, self.seconds)
        self._training = Work("training", steps, self._start)
        self._evaluation: Work | None = None
        self._evaluating = 0.0
        self._stepped = False
        if steps:
            length = f"{steps} steps ({self._epochs} epochs of {per_epoch})"
            where = f", from step {self._start}" if self._start else ""
            self.say(f"{length}{where}; {info['parameters'] / 1e6:.2f} million parameters; writes to {run_dir}")
            if self._start < steps and self._display.terminal:
                self._display.show(self._training)
        for note in info.get("notes", ()):
            self.say(note)

    def say(self, line: str) -> None:
        """Print a line, above the progress if that is shown."""
        if self._display is not None:
            self._display.say(line)
        else:
            print(line, file=self.out, flush=True)

    def on_tick(self, epoch: int, step: int) -> None:
        self._show_step(epoch, step)

    def on_step(self, epoch: int, step: int, values: StepValues) -> None:
        loss = {"loss": values.losses["loss"]}
        terms = values.losses if len(values.losses) > 2 else {}  # a single term is the loss
        row = loss | evolve(values, losses=terms, seconds={}).row()
        facts = [f"{name} {value:.4g}" for name, value in row.items()]
        waiting, total = values.seconds.get("data", 0.0), sum(values.seconds.values())
        if waiting > 0.5 * total:
            facts.append(f"({waiting / total:.0%} of the time waiting for data)")
        self._training.facts = facts
        self._show_step(epoch, step, now=not self._stepped or step == self._training.total)
        self._stepped = True

    def _show_step(self, epoch: int, step: int, now: bool = False) -> None:
        self._training.label = f"epoch {epoch}/{self._epochs}"
        self._training.update(step)
        if self._display is not None:
            self._display.show(self._training, "step", now)

    def on_progress(self, done: int, total: int) -> None:
        if self._evaluation is None:
            self._evaluation, self._evaluating = Work("evaluating", total, done), time.monotonic()
        self._evaluation.update(done)
        if self._display is not None:
            self._display.show(self._evaluation, "batch")

    def on_evaluation(self, epoch: int, step: int, scores: Mapping[str, float]) -> None:
        if self._evaluation is not None:
            self._training.pause(time.monotonic() - self._evaluating)
            self._evaluation = None
        if self._display is not None and self._display.terminal:
            self._display.show(self._training)
        if scores:  # a model may only write files for another one
            self.say(f"epoch {epoch}  step {step}  evaluation: {_short(scores)}")

    def on_checkpoint(self, path: Path, epoch: int, step: int) -> None:
        self._saved = step

    def on_failure(self, error: BaseException) -> None:
        self._close()
        if self._training.total and isinstance(error, KeyboardInterrupt):
            where = f"resumes at step {self._saved}" if self._saved else "starts over (no checkpoint yet)"
            self.say(f"stopped; --resume {where}")

    def on_end(self, report: Mapping[str, Any]) -> None:
        self._close()

    def _close(self) -> None:
        if self._display is not None:
            self._display.close()
            self._display = None


def _short(values: Mapping[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())
