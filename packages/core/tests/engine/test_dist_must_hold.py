"""With several processes, scores are the same, and a run survives the end of any of them."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from vidcore_toy import newest

from vidcore.data.options import LoaderOptions
from vidcore.engine.checkpoint import load
from vidcore.engine.evaluate import evaluate


@pytest.fixture(scope="module")
def straight(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes with batch norm, an average of the weights and precise statistics."""
    folder = tmp_path_factory.mktemp("straight")
    done = toy.torchrun({"folder": folder / "run", **OPTIONS})
    assert done.returncode == 0, done.stderr
    return folder / "run"


OPTIONS = {"batch_size": 2, "size": 24, "ema_decay": 0.8, "precise_bn": 2, "val_loss": True, "best": "val/loss"}


def test_two_processes_give_the_scores_of_one(toy: ModuleType, straight: Path) -> None:
    best = load(straight / "checkpoints/best.pt")
    model = toy.Net()
    model.load_state_dict(best["state_dict"])
    held_out = toy.Loader(toy.Points(13), [toy.Read()], LoaderOptions(batch_size=4), seed=7)
    alone = evaluate(model, held_out, {"acc": toy.Accuracy()}, losses=True).scores
    assert alone == pytest.approx(best["scores"], rel=1e-6), "each sample once, with the same weights and statistics"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_resumes_after_either_process_was_killed(
    toy: ModuleType, straight: Path, tmp_path: Path, rank: int
) -> None:
    arguments = {"folder": tmp_path / "run", **OPTIONS}
    killed = toy.torchrun(arguments | {"fault": {"rank": rank, "step": 10, "how": "kill"}})
    assert killed.returncode != 0
    assert newest(tmp_path / "run")["step"] == 6, "the other process also ended, and left no partial file"
    resumed = toy.torchrun(arguments)
    assert resumed.returncode == 0, resumed.stderr
    a, b = newest(straight), newest(tmp_path / "run")
    assert a["step"] == b["step"] == 18
    for part in ("state_dict", "training_weights"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])


def test_a_failing_process_ends_the_job_with_its_message(toy: ModuleType, tmp_path: Path) -> None:
    failed = toy.torchrun(
        {"folder": tmp_path / "run", **OPTIONS, "fault": {"rank": 1, "step": 4, "how": "raise"}},
    )
    assert failed.returncode != 0
    assert "ValueError: the planets are wrong" in failed.stderr
    assert "rank      : 1" in failed.stderr
