"""Schedules of learning rate and momentum, and the rates of a run that they produce.

A schedule is a function ``shape(t, length)``: the rate at its t-th tick relative to the rate when it began. It acts
from ``begin`` to ``end``; afterwards the rate stays. Several schedules act on the same rate, in order: each tick
multiplies the rate by the change of the shape since the last tick, so that an overlapping warm-up and decay multiply.
With a floor (``eta_min``), a schedule multiplies only the part of the rate above the floor.
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
    """Base of schedules: when they act, and how often they tick."""

    begin: float = 0
    """First epoch (or step) in which the schedule acts, from 0."""
    end: float | None = None
    """First epoch (or step) in which it no longer acts; default: the end of the run."""
    by_epoch: bool = True
    """Lengths (``begin``, ``end``, milestones, ...) are in epochs, with a tick per epoch; else in steps."""
    convert_to_iter_based: bool = False
    """With ``by_epoch``: lengths are in epochs, but with a tick per step."""
    param: Literal["lr", "momentum"] = "lr"
    """What to change; the momentum of Adam and its variants is the first of their ``betas``."""

    def __attrs_post_init__(self) -> None:
        if self.begin < 0 or (self.end is not None and self.end <= self.begin):
            raise ConfigError(f"{type(self).__name__}: must have 0 <= begin < end, got {self.begin} and {self.end}")

    @property
    def ticks_every_step(self) -> bool:
        return not self.by_epoch or self.convert_to_iter_based

    def ticks_of(self, amount: float, per_epoch: int) -> int:
        """Return a length of this schedule in its ticks; ``per_epoch`` is the number of steps in an epoch."""
        scale = per_epoch if self.by_epoch and self.convert_to_iter_based else 1
        return int(amount * scale + 1e-9)  # 0.29 epochs of 100 steps are 29 steps, not 28.999999999999996

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        """Return the factor at tick t of ``length`` ticks; ``per_epoch`` is passed to ``ticks_of``."""
        raise NotImplementedError

    def floor(self) -> tuple[float, float]:
        """Return the floor as (share of the optimizer's rate, absolute rate)."""
        return 0.0, 0.0

    def last_point(self) -> float:
        """Return the last epoch (or step) that the schedule names; 0 if it fits runs of any length."""
        return self.end or 0


@frozen(kw_only=True)
class _WithFloor(Schedule):
    eta_min: float = field(default=0.0, validator=at_least(0.0))
    """Lowest rate."""
    eta_min_ratio: float | None = field(default=None, validator=at_least(0.0))
    """Lowest rate as a share of the optimizer's rate; overrides ``eta_min``."""

    def floor(self) -> tuple[float, float]:
        return (0.0, self.eta_min) if self.eta_min_ratio is None else (self.eta_min_ratio, 0.0)


@frozen(kw_only=True)
class ConstantLR(Schedule):
    """Multiplies the rate by ``factor`` until the last tick, then restores it."""

    factor: float = field(default=1 / 3, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return self.factor if t < length - 1 else 1.0


@frozen(kw_only=True)
class LinearLR(Schedule):
    """Changes the rate linearly from ``start_factor`` to ``end_factor`` times its value: the usual warm-up."""

    start_factor: float = field(default=1 / 3, validator=at_least(0.0))
    end_factor: float = field(default=1.0, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        done = t / (length - 1) if length > 1 else 1.0
        return self.start_factor + (self.end_factor - self.start_factor) * done


@frozen(kw_only=True)
class StepLR(Schedule):
    """Multiplies the rate by ``gamma`` after every ``step_size``."""

    step_size: int = field(validator=at_least(1))
    gamma: float = field(default=0.1, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return self.gamma ** (t // max(1, self.ticks_of(self.step_size, per_epoch)))


@frozen(kw_only=True)
class MultiStepLR(Schedule):
    """Multiplies the rate by ``gamma`` at every milestone (counted from ``begin``; a repeated one counts twice)."""

    milestones: list[int]
    gamma: float = field(default=0.1, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return self.gamma ** sum(self.ticks_of(m, per_epoch) <= t for m in self.milestones)

    def last_point(self) -> float:
        return max([super().last_point(), *(self.begin + m for m in self.milestones)])


@frozen(kw_only=True)
class ExponentialLR(Schedule):
    """Multiplies the rate by ``gamma`` at every tick."""

    gamma: float = field(validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return self.gamma**t


@frozen(kw_only=True)
class PolyLR(_WithFloor):
    """Polynomial decay, (1 - t/T) ** ``power``, down to the floor at the last tick."""

    power: float = field(default=1.0, validator=at_least(0.0))

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        return (1 - t / (length - 1)) ** self.power if length > 1 else 1.0


@frozen(kw_only=True)
class CosineAnnealingLR(_WithFloor):
    """Half a cosine down to the floor after ``T_max`` (SGDR, https://arxiv.org/abs/1608.03983, without restarts)."""

    T_max: int | None = field(default=None, validator=at_least(1))
    """Length of the decay, counted from ``begin``; default: up to ``end``."""

    def shape(self, t: int, length: int, per_epoch: int) -> float:
        half = length if self.T_max is None else self.ticks_of(self.T_max, per_epoch)
        return (1 + math.cos(math.pi * t / half)) / 2

    def last_point(self) -> float:
        return max(super().last_point(), self.begin + (self.T_max or 0))


@frozen(kw_only=True)
class CosineRestartLR(_WithFloor):
    """Consecutive cosines, each from ``restart_weights[i]`` times the rate (SGDR)."""

    periods: list[int]
    """Length of each cosine in epochs (or steps)."""
    restart_weights: list[float] = field(factory=list)
    """One for each period; default: all 1."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if not self.periods or min(self.periods) < 1:
            raise ConfigError(f"CosineRestartLR: periods must be one or more lengths above 0, got {self.periods}")
        if min(self.restart_weights, default=0) < 0:
            raise ConfigError(f"CosineRestartLR: restart_weights must be at least 0, got {self.restart_weights}")
        if self.restart_weights and len(self.periods) != len(self.restart_weights):
            raise ConfigError(
                f"CosineRestartLR: periods and restart_weights must have the same length, "
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
    """Raises the rate to ``eta_max`` and lowers it again (super-convergence, https://arxiv.org/abs/1708.07120).

    The rates are absolute and the same for every parameter group, as in PyTorch.
    """

    eta_max: float = field(validator=at_least(0.0))
    total_steps: int | None = field(default=None, validator=at_least(1))
    """Length in epochs (or steps); default: up to ``end``."""
    pct_start: float = field(default=0.3, validator=[at_least(0.0), validators.le(1.0)])
    """Share of the length in which the rate rises."""
    anneal_strategy: Literal["cos", "linear"] = "cos"
    """Shape of the rise and the fall."""
    div_factor: float = field(default=25.0, validator=at_least(0.0, above=True))
    """The first rate is ``eta_max / div_factor``."""
    final_div_factor: float = field(default=1e4, validator=at_least(0.0, above=True))
    """The last rate is the first rate divided by this."""
    three_phase: bool = False
    """Fall to the first rate as fast as it rose, then to the last rate."""

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
"""The step before the first, and its (a, b)."""


class RateSchedule:
    """All learning rates and momenta of a run, computable for any step.

    The rate is linear in the optimizer's own rate: at any step ``lr = a * own_lr + b``, with the same a and b for all
    parameter groups. Resuming needs no state.
    """

    def __init__(self, schedules: Iterable[Schedule], steps_per_epoch: int, total_steps: int) -> None:
        self.schedules = tuple(schedules)
        # at the start all tick in their order; later, those by step tick before those by epoch
        self._later = sorted(self.schedules, key=lambda s: not s.ticks_every_step)
        self._params = {schedule.param for schedule in self.schedules}
        self.steps_per_epoch = max(1, steps_per_epoch)
        self.total_steps = total_steps
        self._last = {"lr": START, "momentum": START}

    def coefficients(self, step: int, param: str = "lr") -> tuple[float, float]:
        """Return (a, b) of a step: a group with own rate (or momentum) r trains with ``a * r + b``."""
        at, rate = self._last[param] if self._last[param][0] <= step else START
        for later in range(at + 1, step + 1):
            rate = self._next(later, rate, param)
        self._last[param] = step, rate
        return rate

    def rates(self, step: int, own: Sequence[float]) -> list[float]:
        """Return the rates of groups with the given own rates."""
        a, b = self.coefficients(step)
        return [a * r + b for r in own]

    def apply(self, optimizer: Any, step: int) -> None:
        """Set rates and momenta of an optimizer's groups; their own are kept as ``initial_lr``, ``initial_momentum``.

        Raises ``ConfigError`` if a schedule changes the momentum of an optimizer that has none.
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
        if before == 0:  # nothing above the floor to multiply: rise from the floor to the value of the shape
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
        raise ConfigError('schedule: param = "momentum" requires an optimizer with momentum or betas')


def unreached(schedules: Mapping[str, Schedule], steps_per_epoch: int, total_steps: int) -> list[str]:
    """Return a note for each schedule that extends beyond the end of the run, as in a shortened recipe."""
    notes = []
    for name, schedule in schedules.items():
        unit, length = ("epochs", total_steps / steps_per_epoch) if schedule.by_epoch else ("steps", total_steps)
        if schedule.begin >= length > 0:
            notes.append(
                f"schedule.{name}: begins after {schedule.begin:g} {unit}, but the run has {length:g}: it has no effect"
            )
        elif schedule.last_point() > length > 0:
            notes.append(f"schedule.{name}: is made for {schedule.last_point():g} {unit}, but the run has {length:g}")
    return notes
