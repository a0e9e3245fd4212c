"""Preview of the learning rate of a run."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import frozen

from vidcore.config.bind import Call, build
from vidcore.engine.optim import given_or_default
from vidcore.engine.options import TrainOptions
from vidcore.engine.schedule_notes import schedule_notes
from vidcore.engine.schedules import RateSchedule
from vidcore.errors import ConfigError
from vidcore.task.schema import DataPart
from vidcore.task.task import Task

if TYPE_CHECKING:
    from vidcore.tools.draw import Figure

__all__ = ["LRPreview"]

BARS = " ▁▂▃▄▅▆▇█"


@frozen
class LRPreview:
    """Learning rate (of groups without a factor) and factor of the momentum at every step of a run."""

    steps_per_epoch: int
    rates: tuple[float, ...]
    momenta: tuple[float, ...]
    """Factors on the optimizer's momentum."""
    notes: tuple[str, ...] = ()
    """What may be surprising."""

    @classmethod
    def of(cls, task: Task, steps_per_epoch: int | None = None) -> LRPreview:
        """Compute the rates of a Task's run in one process.

        Args:
            steps_per_epoch: default: counted in the training data.

        Raises:
            ConfigError: the Task has no optimizer with a learning rate, or no training data.
        """
        task.require("optimizer")
        call: Call = task.get("optimizer")
        rate = given_or_default(call.component.load(), build(call.arguments), "lr")
        if rate is None:
            raise ConfigError(f"{task.name}: optimizer.lr: is missing")
        options: TrainOptions = task.build("train")
        per_epoch = steps_per_epoch or _steps_per_epoch(task, options)
        total = options.total_steps(per_epoch)
        schedules = task.build("schedule") or {}
        schedule = RateSchedule(schedules.values(), per_epoch, total)
        batch = math.prod(task.get(f"data.train.{name}") or 1 for name in ("batch_size", "num_repeats"))
        samples = batch * options.accumulate
        scale = options.lr_scale(samples)
        rates = tuple(schedule.rates(step, [float(rate) * scale])[0] for step in range(total))
        momenta = tuple(schedule.coefficients(step, "momentum")[0] for step in range(total))
        notes = schedule_notes(schedules, per_epoch, total, float(rate) * scale)
        if scale != 1:
            notes.append(options.lr_note(float(rate), samples))
        return cls(per_epoch, rates, momenta, tuple(notes))

    def picture(self, width: int = 72, height: int = 8) -> str:
        """Draw the rate for a terminal: a column for each part of the run."""
        if not self.rates:
            return "no steps"
        top, columns = max(self.rates), min(width, len(self.rates))
        edges = [len(self.rates) * i // columns for i in range(columns + 1)]
        values = [sum(self.rates[a:b]) / (b - a) for a, b in pairwise(edges)]
        rows = []
        for row in reversed(range(height)):
            filled = (min(1.0, max(0.0, v / top * height - row)) if top > 0 else 0.0 for v in values)
            rows.append("".join(BARS[math.ceil(part * (len(BARS) - 1))] for part in filled).rstrip())
        epochs = math.ceil(len(self.rates) / self.steps_per_epoch)
        length = f"{len(self.rates)} steps, {epochs} epochs of {self.steps_per_epoch}"
        values_at = f"first {self.rates[0]:.4g}, highest {top:.4g}, last {self.rates[-1]:.4g}"
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join([*rows, "-" * columns, f"learning rate: {values_at} ({length})", *notes])

    def figure(self) -> Figure:
        """Draw the rate over the steps, and below it the factor of the momentum if that changes."""
        from vidcore.tools.draw import BLUE, add_axes, drawing, new_figure, round_numbers

        panels = {"learning rate": self.rates, "momentum factor": self.momenta}
        shown = {title: values for title, values in panels.items() if title == "learning rate" or len(set(values)) > 1}
        with drawing():
            figure = new_figure(8, 2.6 * len(shown))
            for i, (title, values) in enumerate(shown.items()):
                axes = add_axes(figure, 0.7, 0.4 + 2.6 * i, 7, 1.9)
                axes.set_title(title)
                axes.plot(range(1, len(values) + 1), values, color=BLUE, marker="o" if len(values) == 1 else None)
                axes.locator_params("x", integer=True)
                axes.grid(axis="y")
                for axis in (axes.xaxis, axes.yaxis):
                    round_numbers(axis)
            figure.axes[-1].set_xlabel(f"step ({self.steps_per_epoch} in an epoch)")
        return figure

    def csv(self) -> str:
        """Return a CSV table of all steps: step, epoch, lr, momentum_factor."""
        lines = ["step,epoch,lr,momentum_factor\n"]
        for step, (rate, momentum) in enumerate(zip(self.rates, self.momenta, strict=True)):
            lines.append(f"{step + 1},{step // self.steps_per_epoch + 1},{rate:.10g},{momentum:.10g}\n")
        return "".join(lines)


def _steps_per_epoch(task: Task, options: TrainOptions) -> int:
    if task.get("data.train") is None:
        raise ConfigError(f"{task.name}: data.train: is missing; give the length of an epoch with --steps-per-epoch")
    part: DataPart = task.build("data.train")
    whole = math.floor if part.drop_last else math.ceil
    return options.steps_per_epoch(whole(len(part.dataset) / part.batch_size))
