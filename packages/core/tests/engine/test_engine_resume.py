"""A killed and resumed run is bit-identical to an uninterrupted one."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from vidcore_toy import newest, records

from vidcore.engine.checkpoint import Checkpoints, load

STEPS = 18  # three epochs of six steps
KILLED = -9


Run = Callable[..., list[int]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs scenarios one after another, each in its own process, and returns their exit codes."""
    command = [sys.executable, str(Path(__file__).with_name("toy.py"))]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
    assert server.stdin is not None and server.stdout is not None

    def serve(*scenarios: dict[str, Any]) -> list[int]:
        codes = []
        for scenario in scenarios:
            server.stdin.write(json.dumps(scenario) + "\n")
            codes.append(int(server.stdout.readline()))
        return codes

    yield serve
    server.stdin.close()
    assert server.wait(timeout=30) == 0
    server.stdout.close()


def assert_same(a: Any, b: Any, where: str = "") -> None:
    """Whether two nested values are bit-identical."""
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    else:
        assert a == b, where


def without_seconds(content: dict[str, Any]) -> dict[str, Any]:
    sums = {k: v for k, v in content["epoch_sums"].items() if k[0] != "seconds"}
    return {**content, "epoch_sums": sums}


@pytest.fixture(scope="module")
def straight(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    assert run({"folder": str(folder)}) == [0]
    assert newest(folder)["step"] == STEPS
    return folder


def interrupted(run: Run, folder: Path, *kills: dict[str, Any], **arguments: Any) -> Path:
    """Run with each of the kills, then until it finishes."""
    scenarios = [{"folder": str(folder), **arguments, **kill} for kill in kills]
    codes = run(*scenarios, {"folder": str(folder), **arguments})
    assert codes == [KILLED] * len(kills) + [0]
    return folder


def assert_equal_runs(a: Path, b: Path) -> None:
    assert_same(without_seconds(newest(a)), without_seconds(newest(b)))
    assert_same(load(a / "checkpoints/best.pt"), load(b / "checkpoints/best.pt"))
    assert (a / "progress.json").read_text() == (b / "progress.json").read_text()
    assert records(a) == records(b)


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_at_random_steps(run: Run, straight: Path, tmp_path: Path, workers: int) -> None:
    steps = sorted(random.sample(range(1, STEPS), 2))  # truly random, since it must work for every step
    print("killed at", steps)
    kills = [{"kill": {"step": s}} for s in steps]
    assert_equal_runs(straight, interrupted(run, tmp_path, *kills, workers=workers))


def test_killed_within_an_epoch_after_a_checkpoint(run: Run, straight: Path, tmp_path: Path) -> None:
    kill = {"kill": {"step": 11}}
    folder = interrupted(run, tmp_path, kill, checkpoint_steps=4)
    assert records(folder) == records(straight), "the means of the epoch lost values from before the kill"
    assert_same(without_seconds(newest(straight)), without_seconds(newest(folder)))


def test_killed_while_evaluating(run: Run, straight: Path, tmp_path: Path) -> None:
    assert run({"folder": str(tmp_path), "kill": {"evaluation": 2}}) == [KILLED]
    assert newest(tmp_path)["step"] == 12, "the epoch was lost with the evaluation"
    assert run({"folder": str(tmp_path)}) == [0]
    assert_equal_runs(straight, tmp_path)


def test_killed_while_evaluating_with_precise_statistics(run: Run, tmp_path: Path) -> None:
    options = {"precise_bn": 2, "val_loss": True, "epochs": 2}
    assert run({"folder": str(tmp_path / "a"), **options}) == [0]
    interrupted(run, tmp_path / "b", {"kill": {"evaluation": 1}}, **options)
    assert_equal_runs(tmp_path / "a", tmp_path / "b")


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_while_saving(run: Run, straight: Path, tmp_path: Path, moment: str) -> None:
    # files made durable: task, metrics (on resume), then per epoch checkpoint, best, progress
    kills = [{"save": [n, moment]} for n in (2, 3, 4)]
    assert_equal_runs(straight, interrupted(run, tmp_path, *kills))
    assert not list(tmp_path.rglob("*.tmp"))


def test_bad_videos_and_workers_change_nothing(run: Run, tmp_path: Path) -> None:
    common = {"bad": [2, 11], "batch_size": 5}
    a, b = tmp_path / "a", tmp_path / "b"
    assert run({"folder": str(a), **common}) == [0]
    assert_equal_runs(a, interrupted(run, b, {"kill": {"step": 8}}, workers=2, **common))
    listed = [json.loads(line) for line in (b / "bad_samples.jsonl").read_text().splitlines()]
    assert sorted(line["index"] for line in listed) == [2, 11]
    assert listed[0]["path"] in ("2.mp4", "11.mp4")
    assert "is not a video" in listed[0]["reason"]


def test_being_killed_while_saving_never_loses_the_last_good_checkpoint(run: Run, tmp_path: Path) -> None:
    """Kill the run 24 times at random moments of writing; it always resumes, and finishes."""
    reached = 0
    for _ in range(24):
        after = random.uniform(0.0, 0.03)
        print("killed", after, "seconds into a save")
        scenario = {"folder": str(tmp_path), "kill_in_write": after, "epochs": 500, "validation": False}
        assert run(scenario) == [-signal.SIGALRM], "which ends a process like SIGKILL"
        content = newest(tmp_path) if Checkpoints(tmp_path / "checkpoints").paths() else {"step": 0}
        assert content["step"] >= reached, "a good checkpoint is gone"
        reached = content["step"]
    assert reached > 0
    assert run({"folder": str(tmp_path), "epochs": reached // 6 + 1, "validation": False}) == [0]
    assert not list(tmp_path.rglob("*.tmp"))
