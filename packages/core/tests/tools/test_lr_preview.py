"""Momentum under schedules, and the course of a run drawn before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from vidcore.engine.schedules import CosineAnnealingLR, LinearLR, RateSchedule
from vidcore.errors import ConfigError
from vidcore.tools.draw import save_figure
from vidcore.tools.lr_preview import LRPreview


def momenta(factory: Any, read: Any, **arguments: Any) -> list[float]:
    optimizer = factory([torch.nn.Parameter(torch.zeros(1))], lr=0.1, **arguments)
    falls = LinearLR(start_factor=1.0, end_factor=0.5, end=5, by_epoch=False, param="momentum")
    rate = LinearLR(start_factor=0.1, end=5, by_epoch=False)
    plan, seen = RateSchedule([falls, rate], 5, 5), []
    for step in range(5):
        plan.apply(optimizer, step)
        seen.append(read(optimizer.param_groups[0]))
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * (0.1 + 0.9 * step / 4))
    return seen


def test_momentum_follows_its_own_schedule() -> None:
    wanted = pytest.approx([0.8 * (1 - 0.125 * step) for step in range(5)])
    assert momenta(torch.optim.SGD, lambda g: g["momentum"], momentum=0.8) == wanted
    assert momenta(torch.optim.AdamW, lambda g: g["betas"][0], betas=(0.8, 0.99)) == wanted
    with pytest.raises(ConfigError, match="requires an optimizer with momentum or betas"):
        momenta(torch.optim.Adagrad, lambda g: 0.0)


def test_the_rate_does_not_follow_the_momentum() -> None:
    plan = RateSchedule([CosineAnnealingLR(param="momentum")], 1, 10)
    assert plan.rates(9, [0.1]) == [0.1]


def test_the_picture_shows_the_highest_rate() -> None:
    rows = LRPreview(2, (0.0, 0.5, 1.0, 1.0), (1.0,) * 4).picture(height=2).splitlines()
    assert rows[:3] == ["  ██", " ███", "----"]


def test_the_figure_has_every_step(tmp_path: Path) -> None:
    (rate,) = LRPreview(2, (0.0, 0.5, 1.0), (1.0,) * 3).figure().axes
    assert rate.lines[0].get_xydata().tolist() == [[1, 0], [2, 0.5], [3, 1]]
    assert rate.get_xlabel() == "step (2 in an epoch)"
    figure = LRPreview(2, (0.1,), (0.5, 1.0)).figure()
    assert [axes.get_title("left") for axes in figure.axes] == ["learning rate", "momentum factor"]
    save_figure(figure, tmp_path / "a.png")
