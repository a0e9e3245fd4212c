"""Two processes give the results of one."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from vidcore_toy import records

from vidcore.engine import dist
from vidcore.errors import CheckpointError, UserError


@pytest.fixture(scope="module")
def pair(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of two processes: without randomness and batch statistics, accumulating, with everything."""
    folder = tmp_path_factory.mktemp("pair")
    plain = {"batch_size": 2, "size": 24, "noisy": False, "norm": False}
    done = toy.torchrun(
        {"folder": folder / "plain", **plain},
        {"folder": folder / "accumulated", **plain, "batch_size": 1, "accumulate": 2},
        {"folder": folder / "several", **plain, "extra": 24},
        {"folder": folder / "pairs", **plain, "pairs": True},
        {"folder": folder / "pairs accumulated", **plain, "pairs": True, "batch_size": 1, "accumulate": 2, "epochs": 1},
        {"folder": folder / "uneven pairs", **plain, "pairs": True, "bad": [3], "on_error": "skip", "epochs": 1},
        {"folder": folder / "all", "epochs": 2, "size": 23, "bad": [3]},
        {"folder": folder / "idle", **plain, "idle": True, "runtime": {"find_unused_parameters": True}},
        {"folder": folder / "norm", "epochs": 1, "validation": False},
        {
            "folder": folder / "one-sided",
            "epochs": 1,
            "bad": list(range(0, 13, 2)),
            "bad_budget": 1.0,
            "val_loss": True,
        },
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize(
    ("name", "more"),
    [("plain", {}), ("accumulated", {}), ("several", {"extra": 24}), ("idle", {}), ("pairs", {"pairs": True})],
)
def test_two_processes_equal_one_with_twice_the_batch(
    toy: ModuleType, pair: Path, tmp_path: Path, name: str, more: dict[str, Any]
) -> None:
    toy.train(tmp_path, batch_size=4, size=24, noisy=False, norm=False, **more)
    ours, theirs = records(tmp_path), records(pair / name)
    assert len(ours) == len(theirs) == 24
    for a, b in zip(ours, theirs, strict=True):
        assert a.pop("kind") == b.pop("kind")
        assert b == pytest.approx(a, rel=1e-5, abs=1e-6)


def test_a_loss_over_all_processes_uses_unequal_batches(pair: Path) -> None:
    for name in ("pairs accumulated", "uneven pairs"):
        assert [r["step"] for r in records(pair / name, "step")] == list(range(1, 7)), "each waits for the other"


def test_two_processes_score_every_sample_once(pair: Path) -> None:
    scores = records(pair / "plain", "evaluation")
    assert [r["acc/count"] for r in scores] == [13.0] * 3
    odd = records(pair / "all", "evaluation")
    assert [r["acc/count"] for r in odd] == [12.0] * 2, "the bad sample is skipped"


def test_a_process_without_samples_takes_part(pair: Path) -> None:
    (scores,) = records(pair / "one-sided", "evaluation")
    assert scores["acc/count"] == 6
    assert scores["val/loss"] == pytest.approx(scores["val/loss_cls"] + scores["val/loss_size"])
    assert scores["val/loss"] > 0.1


def test_batch_statistics_are_the_same_at_the_end(pair: Path) -> None:
    held = [json.loads((pair / f"norm/rank{rank}.json").read_text())["statistics"] for rank in (0, 1)]
    assert held[0] == held[1]
    assert any(held[0])


def test_only_the_first_process_writes(pair: Path) -> None:
    steps = [r["step"] for r in records(pair / "all", "step")]
    assert steps == list(range(1, 7))
    assert {p.name for p in (pair / "all").iterdir()} == {
        ".lock",
        "bad_samples.jsonl",
        "checkpoints",
        "metrics.jsonl",
        "progress.json",
        "rank0.json",
        "rank1.json",
        "task.toml",
    }


def test_a_different_number_of_processes_is_refused(toy: ModuleType, pair: Path) -> None:
    with pytest.raises(CheckpointError, match="processes was 2 and is 1"):
        toy.train(pair / "plain", batch_size=4, size=24, noisy=False, norm=False, epochs=4)


def test_one_process_needs_no_group() -> None:
    assert dist.world() == dist.World(0, 1)
    assert dist.gather("a") == ["a"]
    assert dist.broadcast("a") == "a"
    assert dist.mean({"a": 1.0}, torch.device("cpu")) == {"a": 1.0}
    dist.leave()


def test_processes_wait_two_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = []
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(dist, "_rendezvous", lambda: (torch.distributed.HashStore(), 0, 2, iter([0])))
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, timeout, **__: waits.append(timeout))
    dist.join(torch.device("cpu"))
    assert waits == [timedelta(hours=2)], "scoring may take longer than the ten minutes of NCCL"


def test_a_missing_device() -> None:
    assert dist.pick_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match=r"runtime.device: 'quantum' cannot be used here"):
        dist.pick_device("quantum")
    if not torch.cuda.is_available():
        assert dist.pick_device("auto") == torch.device("cpu")
        with pytest.raises(UserError, match=r"runtime.device: 'cuda' cannot be used here"):
            dist.pick_device("cuda")
