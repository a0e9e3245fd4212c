"""Random numbers depend only on where they are drawn."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from vidcore.randomness import be_deterministic, reseed, sample_rng


def draws(*place: int) -> tuple[float, float, float]:
    reseed(*place)
    return float(torch.rand(())), float(np.random.rand()), random.random()


def test_random_numbers_depend_on_the_place_in_the_run_only() -> None:
    places = [(s, t, r) for s in (0, 1) for t in (0, 1, 2) for r in (0, 1)]
    found = [draws(*place) for place in places]
    assert [draws(*place) for place in reversed(places)] == found[::-1]
    for column in zip(*found, strict=True):
        assert len(set(column)) == len(places)


def test_each_sample_has_its_own_generator() -> None:
    places = [(s, e, i, a) for s in (0, 1) for e in (0, 1) for i in (0, 1) for a in (0, 1)]
    assert len({sample_rng(*place).random() for place in places}) == len(places)
    assert sample_rng(3, 2, 1).random() == sample_rng(3, 2, 1).random()


def test_deterministic_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    try:
        be_deterministic()
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
