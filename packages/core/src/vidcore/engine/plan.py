"""All learning rates and momenta of a run, computable for any step.

What schedules do is linear in the optimizer's own rate: at any step ``lr = a * own_lr + b``. ``Plan`` keeps
a and b; every parameter group follows, and resuming needs no state of a schedule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vidcore.engine.schedules import OneCycleLR, Schedule
from vidcore.errors import ConfigError

__all__ = ["Plan", "shortfalls"]

START = (-1, (1.0, 0.0))
"""The step before the first, and (a, b) there."""


class Plan:
    """All learning rates of a run under its schedules."""

    def __init__(self, schedules: Iterable[Schedule], steps_per_epoch: int, total_steps: int) -> None:
        self.schedules = tuple(schedules)
        # at the start all tick in their order; later, those of steps before those of epochs
        self._later = sorted(self.schedules, key=lambda s: not s.ticks_every_step)
        self._params = {schedule.param for schedule in self.schedules}
        self.steps_per_epoch = max(1, steps_per_epoch)
        self.total_steps = total_steps
        self._last = {"lr": START, "momentum": START}

    def coefficients(self, step: int, param: str = "lr") -> tuple[float, float]:
        """Return (a, b) of a step: a group whose own rate (or momentum) is r trains with ``a * r + b``."""
        at, rate = self._last[param] if self._last[param][0] <= step else START
        for later in range(at + 1, step + 1):
            rate = self._next(later, rate, param)
        self._last[param] = step, rate
        return rate

    def rates(self, step: int, own: Sequence[float]) -> list[float]:
        """Return the rates of groups whose own rates are given."""
        a, b = self.coefficients(step)
        return [a * r + b for r in own]

    def apply(self, optimizer: Any, step: int) -> None:
        """Set rates and momenta of an optimizer's groups; their own are kept as ``initial_lr``, ``initial_momentum``.

        Raises ``ConfigError`` where a schedule is for the momentum of an optimizer that has none.
        """
        a, b = self.coefficients(step)
        for group in optimizer.param_groups:
            group["lr"] = a * group.setdefault("initial_lr", group["lr"]) + b
        if "momentum" in self._params:
            a, b = self.coefficients(step, "momentum")
            for group in optimizer.param_groups:
                _set_momentum(group, a, b)

    def _next(self, step: int, rate: tuple[float, float], param: str) -> tuple[float, float]:
        new_epoch = step % self.steps_per_epoch == 0
        for schedule in self._later if step else self.schedules:
            if schedule.param == param and (schedule.ticks_every_step or new_epoch):
                tick = step if schedule.ticks_every_step else step // self.steps_per_epoch
                begin = schedule.ticks_of(schedule.begin, self.steps_per_epoch)
                end = self._end(schedule)
                if begin <= tick < end:
                    rate = self._tick(schedule, rate, tick - begin, end - begin)
        return rate

    def _end(self, schedule: Schedule) -> int:
        if schedule.end is not None:
            return schedule.ticks_of(schedule.end, self.steps_per_epoch)
        return self.total_steps if schedule.ticks_every_step else -(-self.total_steps // self.steps_per_epoch)

    def _tick(self, schedule: Schedule, rate: tuple[float, float], t: int, length: int) -> tuple[float, float]:
        if isinstance(schedule, OneCycleLR):
            return 0.0, schedule.rate(t, length, self.steps_per_epoch)
        before = schedule.shape(t - 1, length, self.steps_per_epoch) if t else 1.0
        now = schedule.shape(t, length, self.steps_per_epoch)
        ratio, absolute = schedule.floor()
        if before == 0:  # at the floor nothing is left to multiply: rise from it to where the shape says
            return rate[0] + (1 - ratio) * now, rate[1] - absolute * now
        change = now / before
        return ratio + (rate[0] - ratio) * change, absolute + (rate[1] - absolute) * change


def _set_momentum(group: dict[str, Any], a: float, b: float) -> None:
    if "momentum" in group:
        group["momentum"] = a * group.setdefault("initial_momentum", group["momentum"]) + b
    elif "betas" in group:
        first, *others = group["betas"]
        group["betas"] = (a * group.setdefault("initial_momentum", first) + b, *others)
    else:
        raise ConfigError("schedule: this optimizer has no momentum that a schedule could change")


def shortfalls(schedules: Mapping[str, Schedule], steps_per_epoch: int, total_steps: int) -> list[str]:
    """Return what schedules say of epochs that a run does not have: a recipe's, say, in a shorter run."""
    notes = []
    for name, schedule in schedules.items():
        unit, length = ("epochs", total_steps / steps_per_epoch) if schedule.by_epoch else ("steps", total_steps)
        if schedule.begin >= length > 0:
            notes.append(
                f"schedule.{name}: begins after {schedule.begin:g} {unit}, the run has {length:g}: it does nothing"
            )
        elif schedule.reach() > length > 0:
            notes.append(f"schedule.{name}: is made for {schedule.reach():g} {unit}, the run has {length:g}")
    return notes
