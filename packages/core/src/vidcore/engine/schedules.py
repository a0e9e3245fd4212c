"""Schedules of learning rate and momentum: shapes over time, and the rates of a run that follow from them.

A schedule is a shape, ``shape(t, length)``: the rate it wants at its t-th tick relative to the one it
found, 1 meaning unchanged. It acts from ``begin`` to ``end`` and leaves the rate where it got it.
Several act on the same rate, in order: each tick multiplies the current rate by the change of the
shape since the tick before, so a warm-up and a decay that overlap multiply. Where a schedule has a
floor (``eta_min``), what it multiplies is the part of the rate above the floor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise, repeat
from typing import Any, Literal

from attrs import field, frozen, validators

from vidcore.errors import ConfigError
from vidcore.validators import at_least

__all__ = [
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineRestartLR",
    "ExponentialLR",
    "LinearLR",
    "MultiStepLR",
    "OneCycleLR",
    "PolyLR",
    "RateSchedule",
    "Schedule",
    "StepLR",
    "unreached",
]


@frozen(kw_only=True)
class Schedule:
    """What all schedules share: when they act, and how often they tick."""

    begin: float = 0
    """First epoch (or step) in which it acts, from 0."""
    end: float | None = None
    """First epoch (or step) in which it acts no more; the end of the run where not given."""
    by_epoch: bool = True
    """Lengths (``begin``, ``end``, milestones, ...) are epochs and it ticks once an epoch; else both are steps."""
    convert_to_iter_based: bool = False
    """With ``by_epoch``: lengths are epochs, but it ticks at every step."""
    param: Literal["lr", "momentum"] = "lr"
    """What it changes; the momentum of Adam and its kin is the first of their ``betas``."""

    def __attrs_post_init__(self) -> None:
        if self.begin < 0 or (self.end is not None and self.end <= self.begin):
            raise ConfigError(f"{type(self).__name__}: end must be above begin >= 0, got {self.begin} to {self.end}")

    @property
    def ticks_every_step(self) -> bool:
        return not self.by_epoch or self.convert_to_iter_based

    def ticks_of(self, amount: float, per_epoch: int) -> int:
        """Return a length of this schedule in its ticks; ``per_epoch`` is the number of steps of an epoch."""
        scale = per_epoch if self.by_epoch and self.convert_to_iter_based else 1
        return int(amount * scale + 1e-9)  # 0.29 epochs of 100 steps are 29 steps, not 28.999999999999996

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        """Return the factor at tick t of ``length`` ticks; ``per_epoch`` is what ``ticks_of`` needs."""
        raise NotImplementedError

    def floor(self) -> tuple[float, float]:
        """Return (share of the own rate, absolute rate) that the shape leaves alone."""
        return 0.0, 0.0

    def last_point(self) -> float:
        """Return the last epoch (or step) that it names; 0 where it fits runs of any length."""
        return self.end or 0


@frozen(kw_only=True)
class _WithFloor(Schedule):
    eta_min: float = field(default=0.0, validator=at_least(0.0))
    """Lowest rate."""
    eta_min_ratio: float | None = field(default=None, validator=at_least(0.0))
    """Lowest rate as a share of the optimizer's; instead of ``eta_min``."""

    def floor(self) -> tuple[float, float]:
        return (0.0, self.eta_min) if self.eta_min_ratio is None else (self.eta_min_ratio, 0.0)


@frozen(kw_only=True)
class ConstantLR(Schedule):
    """The rate times ``factor`` until the last tick, then back."""

    factor: float = field(default=1 / 3, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return self.factor if t < length - 1 else 1.0


@frozen(kw_only=True)
class LinearLR(Schedule):
    """From ``start_factor`` to ``end_factor`` times the rate in a straight line: the usual warm-up."""

    start_factor: float = field(default=1 / 3, validator=at_least(0.0))
    end_factor: float = field(default=1.0, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        done = t / (length - 1) if length > 1 else 1.0
        return self.start_factor + (self.end_factor - self.start_factor) * done


@frozen(kw_only=True)
class StepLR(Schedule):
    """Times ``gamma`` after every ``step_size``."""

    step_size: int = field(validator=at_least(1))
    gamma: float = field(default=0.1, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return self.gamma ** (t // max(1, self.ticks_of(self.step_size, per_epoch)))


@frozen(kw_only=True)
class MultiStepLR(Schedule):
    """Times ``gamma`` at every milestone (counted from ``begin``; a milestone given twice counts twice)."""

    milestones: list[int]
    gamma: float = field(default=0.1, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return self.gamma ** sum(self.ticks_of(m, per_epoch) <= t for m in self.milestones)

    def last_point(self) -> float:
        return max([super().last_point(), *(self.begin + m for m in self.milestones)])


@frozen(kw_only=True)
class ExponentialLR(Schedule):
    """Times ``gamma`` at every tick."""

    gamma: float = field(validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return self.gamma**t


@frozen(kw_only=True)
class PolyLR(_WithFloor):
    """(1 - t/T) to the ``power``, down to the floor at the last tick."""

    power: float = field(default=1.0, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return (1 - t / (length - 1)) ** self.power if length > 1 else 1.0


@frozen(kw_only=True)
class CosineAnnealingLR(_WithFloor):
    """Half a cosine down to the floor after ``T_max`` (SGDR, https://arxiv.org/abs/1608.03983, without restarts)."""

    T_max: int | None = field(default=None, validator=at_least(1))
    """Length of the way down, counted from ``begin``; up to ``end`` where not given."""

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        half = length if self.T_max is None else self.ticks_of(self.T_max, per_epoch)
        return (1 + math.cos(math.pi * t / half)) / 2

    def last_point(self) -> float:
        return max(super().last_point(), self.begin + (self.T_max or 0))


@frozen(kw_only=True)
class CosineRestartLR(_WithFloor):
    """Cosines one after the other, each from ``restart_weights[i]`` times the rate (SGDR)."""

    periods: list[int]
    restart_weights: list[float] = field(factory=list)
    """One for each period; all 1 where not given."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not self.periods or min(self.periods) < 1:
            raise ConfigError(f"CosineRestartLR: periods must be one or more lengths above 0, got {self.periods}")
        if min(self.restart_weights, default=0) < 0:
            raise ConfigError(f"CosineRestartLR: restart_weights must be at least 0, got {self.restart_weights}")
        if self.restart_weights and len(self.periods) != len(self.restart_weights):
            raise ConfigError(
                f"CosineRestartLR: periods and restart_weights must be equally many, "
                f"got {len(self.periods)} and {len(self.restart_weights)}"
            )

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        start = 0
        for period, weight in zip(self.periods, self.restart_weights or repeat(1.0), strict=False):
            ticks = self.ticks_of(period, per_epoch)
            if t < start + ticks:
                return weight * (1 + math.cos(math.pi * (t - start) / ticks)) / 2
            start += ticks
        return 0.0

    def last_point(self) -> float:
        return max(super().last_point(), self.begin + sum(self.periods))


@frozen(kw_only=True)
class OneCycleLR(Schedule):
    """Up to ``eta_max`` and down again (super-convergence, https://arxiv.org/abs/1708.07120).

    The rates are absolute: the same for every parameter group, as in PyTorch.
    """

    eta_max: float = field(validator=at_least(0.0))
    total_steps: int | None = field(default=None, validator=at_least(1))
    """Length in epochs (steps); up to ``end`` where not given."""
    pct_start: float = field(default=0.3, validator=[at_least(0.0), validators.le(1.0)])
    """Share of the length that goes up."""
    anneal_strategy: Literal["cos", "linear"] = "cos"
    div_factor: float = field(default=25.0, validator=at_least(0.0, above=True))
    """The first rate is ``eta_max / div_factor``."""
    final_div_factor: float = field(default=1e4, validator=at_least(0.0, above=True))
    """The last rate is the first over this."""
    three_phase: bool = False
    """Down to the first rate as fast as up, then on to the last rate."""

    def rate(self, t: int, length: int, per_epoch: int) -> float:
        """Return the learning rate at tick t."""
        total = length if self.total_steps is None else self.ticks_of(self.total_steps, per_epoch)
        first = self.eta_max / self.div_factor
        top = self.pct_start * total - 1
        points = [(0.0, first), (top, self.eta_max)]
        if self.three_phase:
            points.append((2 * self.pct_start * total - 2, first))
        points.append((total - 1.0, first / self.final_div_factor))
        for (t0, lr0), (t1, lr1) in pairwise(points):
            if t <= t1:
                done = (t - t0) / (t1 - t0) if t1 > t0 else 1.0
                if self.anneal_strategy == "cos":
                    done = (1 - math.cos(math.pi * done)) / 2
                return lr0 + (lr1 - lr0) * done
        return points[-1][1]

    def last_point(self) -> float:
        return max(super().last_point(), self.begin + (self.total_steps or 0))


START = (-1, (1.0, 0.0))
"""The step before the first, and (a, b) there."""


class RateSchedule:
    """All learning rates and momenta of a run, computable for any step.

    What schedules do is linear in the optimizer's own rate: at any step ``lr = a * own_lr + b``. ``RateSchedule`` keeps
    a and b; every parameter group follows, and resuming needs no state of a schedule.
    """

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


def unreached(schedules: Mapping[str, Schedule], steps_per_epoch: int, total_steps: int) -> list[str]:
    """Return a note for each schedule that goes beyond the end of the run, as those of a recipe do in a shorter run."""
    notes = []
    for name, schedule in schedules.items():
        unit, length = ("epochs", total_steps / steps_per_epoch) if schedule.by_epoch else ("steps", total_steps)
        if schedule.begin >= length > 0:
            notes.append(
                f"schedule.{name}: begins after {schedule.begin:g} {unit}, the run has {length:g}: it does nothing"
            )
        elif schedule.last_point() > length > 0:
            notes.append(f"schedule.{name}: is made for {schedule.last_point():g} {unit}, the run has {length:g}")
    return notes
