"""Schedules that turn back, never act, or do not fit their run or each other."""

from __future__ import annotations

import pytest

from vidcore.engine.schedule_notes import schedule_notes
from vidcore.engine.schedules import (
    ConstantLR,
    CosineAnnealingLR,
    CosineRestartLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PolyLR,
    ReduceOnPlateauLR,
    Schedule,
    StepLR,
    TorchLR,
)

WARM = LinearLR(start_factor=0.1, end=34, convert_to_iter_based=True)


def notes(
    *schedules: Schedule | ReduceOnPlateauLR, epochs: float = 12, per_epoch: int = 4, lr: float = 0.1
) -> list[str]:
    named = dict(zip("abc", schedules, strict=False))
    return schedule_notes(named, per_epoch, round(epochs * per_epoch), lr)


def test_unreached_ends_of_schedules_are_reported() -> None:
    schedules = {
        "warmup": LinearLR(end=34),
        "cosine": CosineAnnealingLR(begin=34, T_max=222),
        "step": MultiStepLR(milestones=[10, 15]),
        "restart": CosineRestartLR(periods=[5, 20]),
        "cycle": OneCycleLR(eta_max=0.1, begin=10, total_steps=90, by_epoch=False),
    }
    assert schedule_notes(schedules, 4, 14 * 4) == [
        "schedule.warmup: is made for 34 epochs, but the run has 14",
        "schedule.cosine: begins after 34 epochs, but the run has 14: it has no effect",
        "schedule.step: is made for 15 epochs, but the run has 14",
        "schedule.restart: is made for 25 epochs, but the run has 14",
        "schedule.cycle: is made for 100 steps, but the run has 56",
    ]
    assert schedule_notes({"cosine": CosineAnnealingLR()}, 4, 1) == []


@pytest.mark.parametrize(
    ("schedules", "epochs"),
    [
        ([], 12),
        ([WARM, CosineAnnealingLR(begin=34, T_max=222)], 256),
        ([WARM, CosineAnnealingLR()], 256),  # SlowFast: they overlap
        ([WARM, MultiStepLR(milestones=[94, 154, 196])], 256),
        ([LinearLR(end=5, convert_to_iter_based=True), MultiStepLR(milestones=[25, 45])], 50),
        ([MultiStepLR(milestones=[40, 80])], 100),
        ([MultiStepLR(milestones=[90, 110])], 111),
        ([StepLR(step_size=5)], 12),
        ([CosineAnnealingLR(T_max=12)], 12),
        ([CosineAnnealingLR(T_max=11)], 12),
        ([CosineAnnealingLR(convert_to_iter_based=True)], 1),
        ([PolyLR(by_epoch=False)], 12),
        ([ExponentialLR(gamma=0.9)], 12),
        ([OneCycleLR(eta_max=0.1, by_epoch=False)], 12),
        ([CosineRestartLR(periods=[4, 8])], 12),
        ([ConstantLR(end=3), MultiStepLR(milestones=[8])], 12),
        ([LinearLR(start_factor=1.0, end_factor=0.1)], 12),
        ([TorchLR(scheduler="CosineAnnealingLR", arguments={"T_max": 12})], 12),
        ([TorchLR(scheduler="CyclicLR", arguments={"base_lr": 0.01, "max_lr": 0.1})], 12),
        ([ReduceOnPlateauLR(monitor="acc/top1")], 12),
    ],
)
def test_usual_schedules_have_no_notes(schedules: list[Schedule], epochs: float) -> None:
    assert notes(*schedules, epochs=epochs, per_epoch=30) == []


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        (CosineAnnealingLR(T_max=3), "T_max is 3, but it acts for 12 epochs: the rate rises again after epoch 3"),
        (CosineAnnealingLR(T_max=6, begin=2, convert_to_iter_based=True), "the rate rises again after epoch 8"),
        (CosineAnnealingLR(T_max=20, by_epoch=False), "acts for 48 steps: the rate rises again after step 20"),
        (CosineAnnealingLR(T_max=12, end=6), "is made for 12 epochs, but ends after 6"),
        (StepLR(step_size=30), "never steps: step_size is 30 epochs, but it acts for 12 epochs"),
        (StepLR(step_size=5, begin=3, end=7), "never steps: step_size is 5 epochs, but it acts for 4 epochs"),
        (StepLR(step_size=5, gamma=1.0), "never steps"),
        (MultiStepLR(milestones=[40]), "is made for 40 epochs, but the run has 12: it has no effect"),
        (MultiStepLR(milestones=[]), "does not change the rate in 12 epochs; it changes the rate once per epoch"),
        (MultiStepLR(milestones=[4, 8], end=6), "is made for 8 epochs, but ends after 6"),
        (MultiStepLR(milestones=[1, 3], by_epoch=False), "lengths are steps"),
        (LinearLR(end=0.001, convert_to_iter_based=True), "is shorter than a step"),
        (LinearLR(start_factor=0.1), "raises the rate until epoch 11, beyond the middle of the run (12 epochs)"),
        (ConstantLR(), "raises the rate until epoch 11"),
        (LinearLR(start_factor=0.1, begin=5, end=8), "the rate falls, and rises again after epoch 5"),
        (StepLR(step_size=5, gamma=2.0), "raises the rate until epoch 10"),
        (CosineRestartLR(periods=[2, 4]), "is over after epoch 6, and the rate stays at its lowest value to the end"),
        (OneCycleLR(eta_max=0.1, total_steps=9, by_epoch=False), "is over after step 9"),
        (
            TorchLR(scheduler="CosineAnnealingLR", arguments={"T_max": 3}),
            "the rate falls, and rises again after epoch 3",
        ),
        (TorchLR(scheduler="StepLR", arguments={"step_size": 30}), "does not change the rate in 12 epochs"),
        (ExponentialLR(gamma=0.1), "below a millionth of its height from step 28 to the end (48 steps)"),
    ],
)
def test_what_is_odd_about_one_schedule(schedule: Schedule, said: str) -> None:
    found = notes(schedule)
    assert len(found) == 1 and found[0].startswith("schedule.a: ") and said in found[0], found


def test_one_epoch_of_a_schedule_by_epoch() -> None:
    assert notes(CosineAnnealingLR(), epochs=1) == [
        "schedule.a: does not change the rate in 1 epoch; it changes the rate once per epoch"
    ]


@pytest.mark.parametrize(
    ("one", "two", "said"),
    [
        (MultiStepLR(milestones=[2]), LinearLR(start_factor=0.1, begin=4, end=8), "rises again after epoch 4"),
        (CosineAnnealingLR(), MultiStepLR(milestones=[4, 8]), "schedule.a and schedule.b: both lower the rate"),
        (LinearLR(end=2), CosineAnnealingLR(begin=5), "a gap between them from step 8 to 20 (3 epochs)"),
        (LinearLR(end=2, by_epoch=False), CosineAnnealingLR(begin=2), "a gap between them from step 2 to 8"),
        (LinearLR(start_factor=0.1, end=6), StepLR(step_size=2), "schedule.a: they act at the same time"),
    ],
)
def test_what_is_odd_about_two(one: Schedule, two: Schedule, said: str) -> None:
    found = notes(one, two)
    assert len(found) == 1 and said in found[0], found


def test_a_floor_above_the_rate_turns_a_decay_around() -> None:
    assert notes(CosineAnnealingLR(eta_min=0.01)) == []
    assert "raises the rate" in notes(CosineAnnealingLR(eta_min=1.0))[0]


def test_momentum_may_fall_and_rise() -> None:
    assert notes(LinearLR(start_factor=0.5, param="momentum", begin=4)) == []


def test_long_runs_are_looked_at_quickly() -> None:
    assert notes(WARM, CosineAnnealingLR(convert_to_iter_based=True), epochs=256, per_epoch=100_000) == []
