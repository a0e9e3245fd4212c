"""Time of steps and samples, and advice about it."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from attrs import evolve

from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.engine.meters import Clock
from vidcore.protocols import StepValues
from vidcore.tools import advice
from vidcore.tools.advice import Loading, LoadingAdvice

SLOW = Loading(
    milliseconds={"annotation": 0.1, "read": 30.0, "crop": 9.9, "collate": 10.0},
    types={"read": "Decode", "crop": "RandomCrop"},
    waiting=0.625,
    workers=2,
    cores=16,
)


def test_advice_names_the_slowest_step() -> None:
    assert SLOW.advice() == (
        "62% of the time is spent waiting for data; the slowest step is read (Decode), 30 of 50 ms per sample: "
        "raise data.train.workers, which is 2 (of 16 CPU cores), or give OpenVideo more threads, "
        "or re-encode the videos, smaller and with more key frames"
    )


def test_advice_depends_on_the_slowest_step_and_the_machine() -> None:
    full = evolve(SLOW, workers=16).advice() or ""
    assert "workers" not in full and "threads" not in full and "re-encode the videos" in full
    pixels = evolve(SLOW, milliseconds={"read": 1.0, "crop": 2.0}).advice() or ""
    assert "the slowest step is crop (RandomCrop)" in pixels and "smaller" in pixels and "threads" not in pixels
    sound = evolve(SLOW, types={"read": "LoadAudioFeature"}).advice() or ""
    assert sound.endswith("raise data.train.workers, which is 2 (of 16 CPU cores)"), "there are no pixels"
    collating = evolve(SLOW, milliseconds={"collate": 2.0}, workers=16).advice() or ""
    assert collating.endswith("collate, 2 of 2 ms per sample: the machine has no more cores for data.train.workers")


def test_no_advice_if_the_model_does_not_wait() -> None:
    assert evolve(SLOW, waiting=0.1).advice() is None
    assert evolve(SLOW, milliseconds={}).advice() is None


@pytest.mark.parametrize("data_seconds", [2.0, 0.01])
def test_advice_is_given_once_and_reported(data_seconds: float, toy: ModuleType, tmp_path: Path) -> None:
    said: list[str] = []
    loader = Loader(toy.Points(), {"read": toy.Read()}, LoaderOptions())
    list(loader)
    watching = LoadingAdvice(said.append)
    watching.on_start(tmp_path, {"loader": loader})
    watching.on_step(1, 1, StepValues(losses={}, seconds={"data": 1000.0, "forward": 0.0}))  # workers start up
    for epoch in (1, 2):
        values = StepValues(losses={"loss": 1.0}, seconds={"data": data_seconds, "forward": 0.5})
        watching.on_step(epoch, 5 * epoch, values)
        watching.on_epoch(epoch, values)
    report = watching.report()["loading"]
    share = data_seconds / (data_seconds + 0.5)
    assert report["waiting_for_data"] == pytest.approx(share, abs=1e-4)
    assert list(report["milliseconds_per_sample"]) == ["annotation", "read", "collate"]
    assert said == ([report["advice"]] if data_seconds > 1 else [])
    assert not said or said[0].startswith("80% of the time is spent waiting for data; the slowest step is")


def test_cores_are_shared_by_processes(monkeypatch: pytest.MonkeyPatch, toy: ModuleType) -> None:
    loader = Loader(toy.Points(), {"read": toy.Read()}, LoaderOptions())
    monkeypatch.setattr(advice.os, "sched_getaffinity", lambda _: range(12))
    assert Loading.of(loader, 0.5).cores == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert Loading.of(loader, 0.5).cores == 3


def test_waiting_time_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host issues the work of a step at once and waits for data, while the GPU is busy all the time."""
    now = iter([0.0, 0.0, 1000.0, 1250.0])  # milliseconds, when the GPU comes by
    waited: list[bool] = []

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing

        def record(self, stream: Any) -> None:
            self.at = next(now)

        def synchronize(self) -> None:
            waited.append(True)

        def elapsed_time(self, other: Event) -> float:
            return other.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: device)
    clock = Clock(torch.device("cuda"))
    for phase in ("data", "forward", "backward"):
        clock.lap(phase)
    assert clock.take() == {"data": 0.0, "forward": 1.0, "backward": 0.25}
    assert waited == [True]
    assert clock.take() == {}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="measures a GPU")
def test_gpu_time_is_measured_with_events() -> None:
    clock = Clock(torch.device("cuda"))
    matrix = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    clock.lap(None)
    for _ in range(50):
        matrix = matrix @ matrix
    clock.lap("forward")
    clock.lap("data")
    spent = clock.take()
    assert spent["forward"] > 10 * spent["data"]


def test_every_phase_of_a_step_is_reported(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=1)
    text = (tmp_path / "metrics.jsonl").read_text()
    for phase in ("data", "transfer", "forward", "backward", "step"):
        assert f'"seconds/{phase}"' in text
