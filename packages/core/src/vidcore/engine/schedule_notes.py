"""Notes about schedules that do something else in a run than they seem to be written for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise

import numpy as np
from attrs import frozen

from vidcore.engine.schedules import (
    CosineAnnealingLR,
    CosineRestartLR,
    MultiStepLR,
    OneCycleLR,
    ReduceOnPlateauLR,
    Schedule,
    StepLR,
    TorchLR,
)
from vidcore.typing import Array

__all__ = ["schedule_notes"]

POINTS = 2000
"""Steps of a run at which rates are compared."""
SIMULATED = 20_000
"""Ticks of torch's schedulers that are looked at: they are simulated one by one."""
CYCLIC = ("CosineAnnealingWarmRestarts", "CyclicLR", "OneCycleLR")
"""Schedulers of torch that are meant to turn back."""
DIP = 0.8
"""A rate that falls to this share and rises again turns back; a warm-up by step dips less at the decay of an epoch."""


def schedule_notes(
    schedules: Mapping[str, Schedule | ReduceOnPlateauLR], steps_per_epoch: int, total_steps: int, lr: float = 1.0
) -> list[str]:
    """Return sentences about schedules that turn back, never act, or do not fit the run or each other.

    Args:
        schedules: by their names in a Task.
        steps_per_epoch: optimizer steps.
        total_steps: length of the run.
        lr: rate of the optimizer, with which ``eta_min`` is compared.
    """
    if total_steps < 1:
        return []
    planned = {name: schedule for name, schedule in schedules.items() if isinstance(schedule, Schedule)}
    courses = [_Course.of(name, s, max(1, steps_per_epoch), total_steps, lr) for name, s in planned.items()]
    notes = [f"schedule.{course.name}: {note}" for course in courses if (note := course.note())]
    rates = [course for course in courses if course.schedule.param == "lr" and course.acts]
    return notes or list(_together(rates, total_steps, steps_per_epoch))


@frozen(eq=False)
class _Course:
    """What one schedule does in a run."""

    name: str
    schedule: Schedule
    per_epoch: int
    total: int
    steps: Array
    """(points,) int64: steps at which the values are known."""
    values: Array
    """(points,) float64: factors on the rate; empty if it never acts."""
    first: int
    """First step in which it acts."""
    last: int
    """First step in which it no longer acts."""

    @classmethod
    def of(cls, name: str, schedule: Schedule, per_epoch: int, total: int, lr: float) -> _Course:
        tick = 1 if schedule.ticks_every_step else per_epoch
        ticks = -(-total // tick)
        begin = schedule.ticks_of(schedule.begin, per_epoch)
        end = ticks if schedule.end is None else schedule.ticks_of(schedule.end, per_epoch)
        ratio, absolute = schedule.floor()
        floor = ratio + (absolute / lr if lr else 0.0)

        def value(step: int) -> float:
            t = min(step // tick, end - 1) - begin
            if t < 0:
                return 1.0
            if isinstance(schedule, TorchLR):
                a, b = schedule.rate(t)
                return a + (b / lr if lr else 0.0)
            if isinstance(schedule, OneCycleLR):
                return schedule.rate(t, end - begin, per_epoch) / lr if lr else 0.0
            return floor + (1 - floor) * schedule.shape(t, end - begin, per_epoch)

        steps = np.unique(np.linspace(0, total - 1, min(total, POINTS)).astype(np.int64))
        acts = begin < min(end, ticks)
        if isinstance(schedule, TorchLR):
            steps = steps[steps // tick < SIMULATED]
        values = np.array([value(step) for step in steps.tolist()]) if acts else np.zeros(0)
        return cls(name, schedule, per_epoch, total, steps, values, begin * tick, min(end * tick, total))

    @property
    def acts(self) -> bool:
        return len(self.values) > 0

    @property
    def unit(self) -> str:
        return "epoch" if self.schedule.by_epoch else "step"

    def length(self, steps: float) -> str:
        """Return a number of steps in epochs or steps."""
        number = steps / self.per_epoch if self.schedule.by_epoch else steps
        return f"{number:g} {self.unit}{'' if number == 1 else 's'}"

    def note(self) -> str | None:
        """Return the first thing that is odd about this schedule alone."""
        schedule, run = self.schedule, self.length(self.total)
        in_run = self.total / self.per_epoch if schedule.by_epoch else self.total
        if schedule.begin >= in_run:
            return f"begins after {schedule.begin:g} {self.unit}s, but the run has {in_run:g}: it has no effect"
        if not self.acts:
            return f"is shorter than a step, between {schedule.begin:g} and {schedule.end:g} {self.unit}s: no effect"
        return next(self._oddities(schedule, run, in_run), None)

    def _oddities(self, schedule: Schedule, run: str, in_run: float) -> Iterator[str]:
        acts = self.length(self.last - self.first)
        own = self.last - self.first if schedule.ticks_every_step else -(-(self.last - self.first) // self.per_epoch)
        still = self.total > 1 and self.values[0] == 1 and np.ptp(self.values) < 1e-9
        if schedule.last_point() > in_run:
            yield f"is made for {schedule.last_point():g} {self.unit}s, but the run has {in_run:g}" + (
                ": it has no effect" if still else ""
            )
        if isinstance(schedule, StepLR) and still:
            yield f"never steps: step_size is {schedule.step_size} {self.unit}s, but it acts for {acts}"
        if still:
            per_tick = "" if schedule.ticks_every_step else "; it changes the rate once per epoch"
            yield f"does not change the rate in {acts}{per_tick}"
        if isinstance(schedule, CosineAnnealingLR) and schedule.T_max is not None:
            wanted = schedule.ticks_of(schedule.T_max, self.per_epoch)
            if own - 1 > wanted:
                end = schedule.begin + schedule.T_max
                yield (
                    f"T_max is {schedule.T_max:g}, but it acts for {acts}: the rate rises again after {self.unit} "
                    f"{end:g}; set T_max to the length of the run, or end = {end:g}"
                )
        reach = schedule.last_point() - (schedule.end or 0)
        if schedule.end is not None and reach > 0:
            yield f"is made for {schedule.last_point():g} {self.unit}s, but ends after {schedule.end:g}"
        if isinstance(schedule, TorchLR) and schedule.scheduler in CYCLIC:
            return
        if isinstance(schedule, CosineRestartLR | OneCycleLR):
            if 0 < schedule.last_point() < schedule.begin + own / max(1, schedule.ticks_of(1, self.per_epoch)):
                point = f"{self.unit} {schedule.last_point():g}"
                yield f"is over after {point}, and the rate stays at its lowest value to the end ({run})"
            return
        if schedule.param != "lr":
            return
        if (dip := _dip(self.values)) is not None:
            yield f"the rate falls, and rises again after {self._place(dip)} of the run ({run})"
        if self.values[-1] > self.values[0] and (peak := int(self.values.argmax())) > len(self.values) / 2:
            yield f"raises the rate until {self._place(peak)}, beyond the middle of the run ({run})"
        changes = np.flatnonzero(np.diff(self.values))
        falls = self.values[-1] < self.values[0]
        if falls and not schedule.by_epoch and self.steps[changes[-1] + 1] < self.per_epoch <= self.total / 3:
            epochs = self.total / self.per_epoch
            yield (
                f"reaches its last rate at step {self.steps[changes[-1] + 1]}, in the first of {epochs:g} epochs: with "
                "by_epoch = false its lengths are steps"
            )

    def _place(self, point: int) -> str:
        step = int(self.steps[point])
        return f"epoch {step / self.per_epoch:.3g}" if self.schedule.by_epoch else f"step {step}"


def _dip(values: Array) -> int | None:
    """Return the lowest point between two higher ones; None if values do not fall and rise again."""
    lower = np.minimum(np.maximum.accumulate(values), np.maximum.accumulate(values[::-1])[::-1])
    low = int(np.argmax(lower - values))
    return low if values[low] < DIP * lower[low] else None


def _together(courses: list[_Course], total: int, per_epoch: int) -> Iterator[str]:
    """Yield what is odd about several schedules of the rate, each of which is fine."""
    sets_rate = any(isinstance(course.schedule, OneCycleLR | TorchLR) for course in courses)
    if not courses or total <= 1 or sets_rate:
        return
    rates = np.prod([course.values for course in courses], axis=0)
    steps = courses[0].steps
    cyclic = any(isinstance(c.schedule, CosineRestartLR) for c in courses)
    if (dip := _dip(rates)) is not None and not cyclic:
        falling = max(courses, key=lambda c: c.values[: dip + 1].max() / max(c.values[dip], 1e-12))
        rising = max(courses, key=lambda c: c.values[dip:].max() / max(c.values[dip], 1e-12))
        yield (
            f"schedule.{falling.name} and schedule.{rising.name}: they act at the same time, and the rate falls and "
            f"rises again after step {steps[dip]} of {total}"
        )
        return
    for one, two in combinations(courses, 2):
        a, b = (np.flatnonzero(np.diff(c.values) < 0) for c in (one, two))
        if len(a) and len(b) and max(a[0], b[0]) < min(a[-1], b[-1]):
            yield f"schedule.{one.name} and schedule.{two.name}: both lower the rate at the same time, and multiply"
    ordered = sorted(courses, key=lambda c: c.first)
    for one, two in pairwise(ordered):
        covered = max(c.last for c in ordered[: ordered.index(two)])
        if two.first > covered and not isinstance(two.schedule, StepLR | MultiStepLR):
            span = f"from step {covered} to {two.first} ({(two.first - covered) / per_epoch:.3g} epochs)"
            yield f"schedule.{one.name} and schedule.{two.name}: there is a gap between them {span}"
    tiny = np.flatnonzero(rates > 1e-6 * rates.max())[-1] + 1
    if tiny < 0.9 * len(rates) and total - steps[tiny] > per_epoch:
        names = " and ".join(f"schedule.{c.name}" for c in courses)
        yield f"{names}: the rate is below a millionth of its height from step {steps[tiny]} to the end ({total} steps)"
