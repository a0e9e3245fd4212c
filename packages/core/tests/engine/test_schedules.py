"""Learning rates of a run, compared with closed forms and with torch's schedulers."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
import torch

from vidcore.config.bind import build_component
from vidcore.engine.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    RateSchedule,
    ReduceOnPlateauLR,
    Schedule,
    StepLR,
    TorchLR,
)
from vidcore.errors import ConfigError, UserError


def rates(*schedules: Schedule, steps: int = 12, per_epoch: int = 4, own: float = 1.0) -> list[float]:
    plan = RateSchedule(schedules, per_epoch, steps)
    return [plan.rates(step, [own])[0] for step in range(steps)]


def by_torch(make: Any, steps: int, own: float = 1.0) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=own)
    scheduler = make(optimizer)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the order of optimizer and scheduler
            scheduler.step()
    return found


lrs = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (StepLR(step_size=3, gamma=0.5, by_epoch=False), lambda o: lrs.StepLR(o, 3, 0.5)),
        (MultiStepLR(milestones=[2, 5], by_epoch=False), lambda o: lrs.MultiStepLR(o, [2, 5], 0.1)),
        (ExponentialLR(gamma=0.8, by_epoch=False), lambda o: lrs.ExponentialLR(o, 0.8)),
        (CosineAnnealingLR(T_max=7, eta_min=0.1, by_epoch=False), lambda o: lrs.CosineAnnealingLR(o, 7, 0.1)),
        (LinearLR(start_factor=0.2, end=6, by_epoch=False), lambda o: lrs.LinearLR(o, 0.2, total_iters=5)),
        (ConstantLR(factor=0.2, end=6, by_epoch=False), lambda o: lrs.ConstantLR(o, 0.2, 5)),
        (PolyLR(power=2.0, by_epoch=False, end=21), lambda o: lrs.PolynomialLR(o, 20, 2.0)),
        (OneCycleLR(eta_max=0.5, by_epoch=False), lambda o: lrs.OneCycleLR(o, 0.5, 20)),
        (
            OneCycleLR(eta_max=0.5, by_epoch=False, three_phase=True, anneal_strategy="linear", pct_start=0.4),
            lambda o: lrs.OneCycleLR(o, 0.5, 20, three_phase=True, anneal_strategy="linear", pct_start=0.4),
        ),
        (
            OneCycleLR(eta_max=0.5, by_epoch=False, div_factor=10.0, final_div_factor=50.0),
            lambda o: lrs.OneCycleLR(o, 0.5, 20, div_factor=10.0, final_div_factor=50.0),
        ),
        (
            CosineRestartLR(periods=[5] * 4, by_epoch=False, eta_min=0.1),
            lambda o: lrs.CosineAnnealingWarmRestarts(o, 5, eta_min=0.1),
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, Schedule) else "",
)
def test_like_torch(ours: Schedule, theirs: Any) -> None:
    np.testing.assert_allclose(rates(ours, steps=20), by_torch(theirs, 20), rtol=1e-12, atol=1e-15)


def test_units_of_length_and_ticks() -> None:
    assert rates(MultiStepLR(milestones=[1, 2], gamma=0.5)) == [1.0] * 4 + [0.5] * 4 + [0.25] * 4
    assert rates(MultiStepLR(milestones=[1], gamma=0.5, by_epoch=False)) == [1.0] + [0.5] * 11
    ramp = rates(LinearLR(start_factor=0.5, end=1.5, convert_to_iter_based=True))
    np.testing.assert_allclose(ramp, [0.5, 0.6, 0.7, 0.8, 0.9] + [1.0] * 7)


def test_the_default_end_is_the_end_of_the_run() -> None:
    np.testing.assert_allclose(rates(PolyLR(by_epoch=False), steps=6), [1, 0.8, 0.6, 0.4, 0.2, 0], atol=1e-15)
    np.testing.assert_allclose(rates(PolyLR()), [1.0] * 4 + [0.5] * 4 + [0.0] * 4)
    # ten steps are two and a half epochs of four: a third epoch begins
    np.testing.assert_allclose(rates(PolyLR(), steps=10), [1.0] * 4 + [0.5] * 4 + [0.0] * 2)


def test_one_cycle_in_a_part_of_the_run() -> None:
    part = rates(OneCycleLR(eta_max=0.5, total_steps=8, by_epoch=False))
    assert part[:8] == rates(OneCycleLR(eta_max=0.5, by_epoch=False), steps=8)
    assert part[8:] == pytest.approx([part[7]] * 4)


def test_rates_change_only_between_begin_and_end() -> None:
    found = rates(ExponentialLR(gamma=0.5, begin=3, end=6, by_epoch=False), steps=8)
    assert found == [1.0, 1.0, 1.0, 1.0, 0.5, 0.25, 0.25, 0.25]


def test_consecutive_and_overlapping_schedules() -> None:
    warm = LinearLR(start_factor=0.5, end=3, by_epoch=False)
    then = CosineAnnealingLR(begin=3, by_epoch=False)
    one_by_one = rates(warm, then)
    np.testing.assert_allclose(one_by_one[:3], [0.5, 0.75, 1.0])
    np.testing.assert_allclose(one_by_one[3:], [(1 + math.cos(math.pi * t / 9)) / 2 for t in range(9)])
    together = rates(warm, MultiStepLR(milestones=[1], by_epoch=False))
    np.testing.assert_allclose(together, [0.5, 0.075] + [0.1] * 10)


def test_groups_keep_their_proportions_above_the_floor() -> None:
    plan = RateSchedule([CosineAnnealingLR(eta_min_ratio=0.1, by_epoch=False)], 4, 12)
    for step in range(12):
        a, b = plan.rates(step, [1.0, 0.2])
        assert b == pytest.approx(0.2 * a)
    assert plan.rates(11, [1.0])[0] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi * 11 / 12)) / 2)
    assert RateSchedule([CosineAnnealingLR(T_max=11, eta_min=0.1, by_epoch=False)], 4, 12).rates(11, [1.0, 0.2]) == [
        0.1,
        0.1,
    ]


def test_steps_can_be_computed_in_any_order() -> None:
    schedules = [LinearLR(end=1, convert_to_iter_based=True), CosineAnnealingLR(eta_min=0.1)]
    plan = RateSchedule(schedules, 4, 12)
    assert [plan.rates(step, [1.0])[0] for step in (9, 3, 11)] == [rates(*schedules)[step] for step in (9, 3, 11)]


def test_restarts_from_lower_rates() -> None:
    found = rates(CosineRestartLR(periods=[2, 4], restart_weights=[1.0, 0.5], by_epoch=False), steps=8)
    np.testing.assert_allclose(found[:3] + found[4:5], [1.0, 0.5, 0.5, 0.25])
    np.testing.assert_allclose(found[6:], 0.0, atol=1e-15)


def test_rates_reach_the_optimizer() -> None:
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [w], "lr": lr} for w, lr in zip(weights, (1.0, 0.1), strict=True)])
    plan = RateSchedule([ExponentialLR(gamma=0.5, by_epoch=False)], 4, 12)
    for step in (0, 1, 3, 3):
        plan.apply(optimizer, step)
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.125, 0.0125])


def test_schedules_from_tables_and_their_errors() -> None:
    assert build_component({"type": "MultiStepLR", "milestones": [1]}, "schedules") == MultiStepLR(milestones=[1])
    with pytest.raises(ConfigError, match=r"LinearLR: must have 0 <= begin < end, got 5 and 3"):
        LinearLR(begin=5, end=3)
    with pytest.raises(UserError, match=r"CosineAnnealingLR: T_max must be at least 1, got 0"):
        build_component({"type": "CosineAnnealingLR", "T_max": 0}, "schedules")
    with pytest.raises(ConfigError, match=r"periods must be one or more lengths above 0, got \[\]"):
        CosineRestartLR(periods=[])
    for wrong in ({"div_factor": 0.0}, {"final_div_factor": 0.0}, {"pct_start": 1.5}, {"total_steps": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            OneCycleLR(eta_max=0.1, **wrong)
    for table in (
        {"type": "LinearLR", "start_factor": -0.1},
        {"type": "ConstantLR", "factor": -1},
        {"type": "StepLR", "step_size": 1, "gamma": -0.1},
        {"type": "PolyLR", "eta_min": -1e-4},
        {"type": "OneCycleLR", "eta_max": -1},
        {"type": "CosineRestartLR", "periods": [2], "restart_weights": [-1]},
    ):
        with pytest.raises(UserError, match="must be at least 0"):  # the loss would rise
            build_component(table, "schedules")
    with pytest.raises(ConfigError, match="periods and restart_weights must have the same length, got 2 and 1"):
        CosineRestartLR(periods=[1, 2], restart_weights=[0.5])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.5, "step_size_up": 3}),
        ("CosineAnnealingWarmRestarts", {"T_0": 4, "eta_min": 0.05}),
        ("ExponentialLR", {"gamma": 0.9}),
    ],
)
def test_any_scheduler_of_torch(name: str, arguments: dict[str, Any]) -> None:
    def theirs(optimizer: Any) -> Any:
        return vars(lrs)[name](optimizer, **{"cycle_momentum": False} if name == "CyclicLR" else {}, **arguments)

    ours = TorchLR(scheduler=name, arguments=arguments, by_epoch=False)
    assert rates(ours, own=0.3, steps=300) == pytest.approx(by_torch(theirs, 300, own=0.3), abs=1e-12)


def test_schedulers_that_torch_lacks_or_refuses() -> None:
    with pytest.raises(ConfigError, match=r"TorchLR: torch has no scheduler 'CyclicRL'; did you mean 'CyclicLR'"):
        TorchLR(scheduler="CyclicRL")
    with pytest.raises(ConfigError, match=r"TorchLR: CyclicLR: .*base_lr"):
        TorchLR(scheduler="CyclicLR")


@pytest.mark.parametrize("rule", ["greater", "less"])
@pytest.mark.parametrize(("threshold_rule", "cooldown"), [("rel", 0), ("abs", 2)])
def test_reduction_on_a_plateau_equals_that_of_torch(rule: Any, threshold_rule: Any, cooldown: int) -> None:
    more: dict[str, Any] = {"factor": 0.5, "patience": 1, "threshold": 0.05, "cooldown": cooldown}
    ours = ReduceOnPlateauLR(monitor="acc", rule=rule, threshold_rule=threshold_rule, eta_min=0.02, **more)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    mode = {"greater": "max", "less": "min"}[rule]
    theirs = lrs.ReduceLROnPlateau(optimizer, mode, threshold_mode=threshold_rule, min_lr=0.02, **more)
    evaluations = []
    for step, value in enumerate(np.random.default_rng(0).random(40).tolist()):
        evaluations.append((step, {"acc": value}))
        theirs.step(value)
        assert ours.reduced(1.0, ours.reductions(evaluations)) == pytest.approx(optimizer.param_groups[0]["lr"])
