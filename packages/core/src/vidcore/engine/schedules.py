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

from vidcore.engine.options import higher_is_better
from vidcore.errors import ConfigError, nearest
from vidcore.validators import at_least, below_one

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
    "ReduceOnPlateauLR",
    "Schedule",
    "StepLR",
    "TorchLR",
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
        if not 0 <= self.begin < (math.inf if self.end is None else self.end):
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

    T_max: float | None = field(default=None, validator=at_least(1))
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


@frozen(kw_only=True)
class TorchLR(Schedule):
    """Any other scheduler of ``torch.optim.lr_scheduler``, such as ``CyclicLR``; only its learning rate is used.

    It sets the rate, so that earlier schedules have no effect while it acts.
    """

    scheduler: str
    """Name of the class."""
    arguments: dict[str, Any] = field(factory=dict)
    """All but the optimizer; lengths are in ticks (epochs or steps)."""
    _rates: list[tuple[float, float]] = field(factory=list, init=False, repr=False, eq=False)
    """(a, b) of each tick so far."""

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        if self.param != "lr":
            raise ConfigError("TorchLR: changes the learning rate, not the momentum")
        self.rate(0)

    def rate(self, t: int) -> tuple[float, float]:
        """Return (a, b) of tick t: the rate is ``a * own + b``, which is what every scheduler of torch computes.

        Raises ``ConfigError`` if torch has no such scheduler, or it does not accept the arguments.
        """
        if t >= len(self._rates):
            self._rates[:] = self._simulated(2 * t + 100)  # not step by step, to construct it rarely
        return self._rates[t]

    def _simulated(self, ticks: int) -> list[tuple[float, float]]:
        import torch
        from torch.optim.lr_scheduler import LRScheduler

        known = {c.__name__: c for c in LRScheduler.__subclasses__()}
        if self.scheduler == "ReduceLROnPlateau":
            raise ConfigError("TorchLR: ReduceLROnPlateau needs scores; use ReduceOnPlateauLR")
        if self.scheduler not in known:
            raise ConfigError(f"TorchLR: torch has no scheduler {self.scheduler!r}{nearest(self.scheduler, known)}")
        weights = [torch.zeros(1, requires_grad=True) for _ in range(2)]
        groups = [{"params": [weight], "lr": own} for weight, own in zip(weights, (1.0, 2.0), strict=True)]
        optimizer = torch.optim.SGD(groups, momentum=0.9)
        rates = []
        try:
            scheduler = known[self.scheduler](optimizer, **self.arguments)
            for _ in range(ticks):
                one, two = (float(group["lr"]) for group in optimizer.param_groups)
                rates.append((two - one, 2 * one - two))
                optimizer.step()
                scheduler.step()
        except (TypeError, ValueError) as error:
            raise ConfigError(f"TorchLR: {self.scheduler}: {error}") from error
        return rates


Evaluations = Sequence[tuple[int, Mapping[str, float]]]
"""Step and scores of every evaluation so far."""


@frozen(kw_only=True)
class ReduceOnPlateauLR:
    """Multiplies the rate by ``factor`` whenever a score has not improved for more than ``patience`` evaluations."""

    monitor: str
    """The score: ``acc/top1``, ``val/loss``."""
    rule: Literal["greater", "less"] | None = None
    """Which values are better; default: ``less`` for scores with ``loss`` in the name."""
    factor: float = field(default=0.1, validator=[at_least(0.0), below_one])
    patience: int = field(default=10, validator=at_least(0))
    threshold: float = field(default=1e-4, validator=at_least(0.0))
    """Smaller changes do not count as an improvement."""
    threshold_rule: Literal["rel", "abs"] = "rel"
    """Whether ``threshold`` is a fraction of the best value or a difference."""
    cooldown: int = field(default=0, validator=at_least(0))
    """Evaluations after a reduction that do not count."""
    eta_min: float = field(default=0.0, validator=at_least(0.0))
    """Lowest rate."""

    def reductions(self, evaluations: Evaluations) -> int:
        """Return the number of reductions after these evaluations.

        Raises ``ConfigError`` if they lack the score.
        """
        best: float | None = None
        waited = cooling = found = 0
        for _, scores in evaluations:
            if self.monitor not in scores:
                hint = nearest(self.monitor, scores) or f"; its scores are {', '.join(scores) or 'none'}"
                raise ConfigError(f"ReduceOnPlateauLR: the evaluation returns no score {self.monitor!r}{hint}")
            value = scores[self.monitor]
            if best is None or math.isnan(best) or self._better(value, best):
                best, waited = value, 0
            else:
                waited += 1
            if cooling:
                cooling, waited = cooling - 1, 0
            if waited > self.patience:
                found, cooling, waited = found + 1, self.cooldown, 0
        return found

    def _better(self, value: float, best: float) -> bool:
        margin = self.threshold * (abs(best) if self.threshold_rule == "rel" else 1.0)
        return value > best + margin if higher_is_better(self.rule, self.monitor) else value < best - margin

    def reduced(self, rate: float, reductions: int) -> float:
        """Return a rate after some reductions; one below ``eta_min`` stays as it is."""
        return max(rate * self.factor**reductions, min(rate, self.eta_min))


START = (-1, (1.0, 0.0))
"""The step before the first, and its (a, b)."""


class RateSchedule:
    """All learning rates and momenta of a run, computable for any step.

    The rate is linear in the optimizer's own rate: at any step ``lr = a * own_lr + b``, with the same a and b for all
    parameter groups. Resuming needs no state.
    """

    def __init__(
        self, schedules: Iterable[Schedule | ReduceOnPlateauLR], steps_per_epoch: int, total_steps: int
    ) -> None:
        schedules = tuple(schedules)
        self.schedules = tuple(s for s in schedules if isinstance(s, Schedule))
        self.plateaus = [s for s in schedules if isinstance(s, ReduceOnPlateauLR)]
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

    def apply(self, optimizer: Any, step: int, evaluations: Evaluations = ()) -> None:
        """Set rates and momenta of an optimizer's groups; their own are kept as ``initial_lr``, ``initial_momentum``.

        Raises ``ConfigError`` if a schedule changes the momentum of an optimizer that has none, or waits for a score
        that the evaluations lack.
        """
        a, b = self.coefficients(step)
        for group in optimizer.param_groups:
            group["lr"] = a * group.setdefault("initial_lr", group["lr"]) + b
        for plateau in self.plateaus:
            reductions = plateau.reductions(evaluations)
            for group in optimizer.param_groups:
                group["lr"] = plateau.reduced(group["lr"], reductions)
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
        if isinstance(schedule, TorchLR):
            return schedule.rate(t)
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
