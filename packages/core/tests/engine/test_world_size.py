"""A run resumes with a different number of processes, on request, and its step numbers keep their meaning."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from vidcore_toy import newest, records

from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.data.pool.training import TrainingData
from vidcore.engine.checkpoint import Checkpoints
from vidcore.engine.dist import World
from vidcore.engine.options import RuntimeOptions, TrainOptions
from vidcore.engine.resume import resume_position
from vidcore.errors import CheckpointError
from vidcore.protocols import Observer

PLAIN = {"noisy": False, "norm": False, "checkpoint_steps": 2}
TWO = {**PLAIN, "size": 22, "batch_size": 2, "accumulate": 2}
"""In each of two processes; eight samples in a step, three steps in an epoch."""
ONE = {**PLAIN, "size": 24, "extra": 32, "batch_size": 8}
MAY: dict[str, Any] = {"runtime": {"world_size_may_change": True}}


class Interrupt(Observer):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step(self, epoch: int, step: int, values: Any) -> None:
        if step == self.step:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def two(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes, one that was killed in step 6, and one of one process that they finished."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(KeyboardInterrupt):
        toy.train(folder / "from one", **ONE, observers=(Interrupt(6),))
    done = toy.torchrun(
        {"folder": folder / "whole", **TWO},
        {"folder": folder / "several", **TWO, "size": 24, "extra": 32},
        {"folder": folder / "from one", **ONE, "runtime": {"world_size_may_change": True, "strategy": "fsdp"}},
        {"folder": folder / "killed", **TWO, "fault": {"rank": 1, "step": 11, "how": "kill"}},
    )
    assert done.returncode != 0
    assert (folder / "from one/rank1.json").exists(), done.stderr
    return folder


def assert_same_course(ours: Path, theirs: Path) -> None:
    a, b = records(ours), records(theirs)
    assert len(a) == len(b) == 15
    for one, other in zip(a, b, strict=True):
        assert one.pop("kind") == other.pop("kind")
        assert one == pytest.approx(other, rel=1e-5, abs=1e-6)
    for name, value in newest(theirs)["state_dict"].items():
        torch.testing.assert_close(newest(ours)["state_dict"][name], value, rtol=1e-4, atol=1e-5)


def test_from_two_processes_to_one_and_back(toy: ModuleType, two: Path) -> None:
    run = two / "killed"
    assert newest(run)["step"] == 4
    with pytest.raises(CheckpointError) as refused:
        toy.train(run, **TWO)
    assert "processes was 2 and is 1" in str(refused.value)
    assert "runtime.world_size_may_change=true" in str(refused.value)

    with pytest.raises(KeyboardInterrupt):
        toy.train(run, **TWO, **MAY, observers=(Interrupt(7),))
    result, _ = toy.train(run, **TWO)  # with the processes of the last checkpoint
    steps = "data.train.batch_size = 2 and train.accumulate = 4"
    assert result.resume_notes == (f"a step takes 8 samples as before, with {steps} in each process",)
    assert_same_course(run, two / "whole")
    with pytest.raises(CheckpointError, match=r"train.accumulate was 2 and is 4"):
        toy.train(run, **{**TWO, "accumulate": 4}, **MAY)


def test_differences_are_reported(toy: ModuleType, two: Path, tmp_path: Path) -> None:
    said: list[str] = []

    class Listen(Observer):
        def on_start(self, run_dir: Path, info: Any) -> None:
            said.extend(info["notes"])

    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    path = Checkpoints(two / "whole/checkpoints").paths()[-1]
    (folder / "checkpoints" / path.name).write_bytes(path.read_bytes())
    result, _ = toy.train(folder, **TWO, **MAY, epochs=4, observers=(Listen(),))
    assert said == list(result.resume_notes)
    assert said[0] == "processes: 1 instead of 2, from step 9"
    assert "not bit-identical" in said[2]


def test_from_one_process_to_two(two: Path) -> None:
    assert {r["step"] for r in records(two / "from one")} == set(range(1, 10))
    held = [json.loads((two / f"from one/rank{rank}.json").read_text())["weights"] for rank in (0, 1)]
    assert sum(held) == 195, "they went on with a share each"
    assert_same_course(two / "from one", two / "several")


@pytest.mark.parametrize(
    ("options", "then", "now", "why"),
    [
        ({"batch_size": 3}, 1, 2, "the 3 samples of data.train in a step cannot be divided by 2"),
        ({"batch_size": 4, "drop_last": True}, 2, 1, "an epoch had 2 steps and would have 3"),
    ],
)
def test_steps_that_cannot_be_divided(
    toy: ModuleType, monkeypatch: pytest.MonkeyPatch, options: Any, then: int, now: int, why: str
) -> None:
    runtime, loading = RuntimeOptions(world_size_may_change=True), LoaderOptions(**options)
    saved: dict[str, Any] = {}
    for processes in (then, now):
        monkeypatch.setattr("vidcore.engine.dist.world", lambda size=processes: World(0, size))
        data = TrainingData(Loader(toy.Points(22), (), loading, training=True, world=processes))
        if not saved:
            position, _, _ = resume_position(None, data, TrainOptions(), runtime)
            saved = {"position": position, "step": 2}
        else:
            with pytest.raises(CheckpointError, match=why):
                resume_position((Path("some.pt"), saved), data, TrainOptions(), runtime)
