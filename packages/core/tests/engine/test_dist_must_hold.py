"""What must hold with several processes: the same evaluation, and a run that survives any of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from vidcore.engine.checkpoint import Checkpoints, load
from vidcore.engine.evaluate import evaluate
from vidcore.engine.options import LoaderOptions

SCRIPT = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import torch
import toy
from vidcore.engine import dist

torch.set_num_threads(1)
dist.join(torch.device("cpu"))
arguments, rank, step, how = json.loads(sys.argv[2])
if dist.world().rank == rank:
    steps = 0
    original = toy.Net.loss

    def loss(self, outputs, batch):
        global steps
        steps += self.training
        if steps == step and how == "kill":
            os.kill(os.getpid(), 9)
        if steps == step:
            raise ValueError("the planets are wrong")
        return original(self, outputs, batch)

    toy.Net.loss = loss
toy.train(**arguments)
dist.leave()
"""


def torchrun(folder: Path, arguments: dict[str, Any], rank: int = -1, step: int = 0, how: str = "") -> Any:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(script), str(Path(__file__).parent), json.dumps([arguments, rank, step, how], default=str)]
    return subprocess.run(command, capture_output=True, text=True, timeout=180)


def newest(folder: Path) -> dict[str, Any]:
    return load(Checkpoints(folder / "checkpoints").paths()[-1])


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes with batch norm, an average of the weights and precise statistics."""
    folder = tmp_path_factory.mktemp("straight")
    done = torchrun(folder, {"folder": folder / "run", **OPTIONS})
    assert done.returncode == 0, done.stderr
    return folder / "run"


OPTIONS = {"batch_size": 2, "size": 24, "ema_decay": 0.8, "precise_bn": 2, "val_loss": True, "best": "val/loss"}


def test_two_processes_score_as_one_does(toy: ModuleType, straight: Path) -> None:
    best = load(straight / "checkpoints/best.pt")
    model = toy.Net()
    model.load_state_dict(best["state_dict"])
    held_out = toy.Loader(toy.Points(13), [toy.Read()], LoaderOptions(batch_size=4), seed=7)
    alone = evaluate(model, held_out, {"acc": toy.Accuracy()}, losses=True).scores
    assert alone == pytest.approx(best["scores"], rel=1e-6), "each sample once, by the same weights and statistics"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_run_goes_on_after_either_process_was_killed(straight: Path, tmp_path: Path, rank: int) -> None:
    arguments = {"folder": tmp_path / "run", **OPTIONS}
    killed = torchrun(tmp_path, arguments, rank, 10, "kill")
    assert killed.returncode != 0
    assert newest(tmp_path / "run")["step"] == 6, "the other process ended as well, and wrote nothing half"
    resumed = torchrun(tmp_path, arguments)
    assert resumed.returncode == 0, resumed.stderr
    a, b = newest(straight), newest(tmp_path / "run")
    assert a["step"] == b["step"] == 18
    for part in ("state_dict", "training_weights"):
        assert all(torch.equal(a[part][name], b[part][name]) for name in a[part])


def test_a_failing_process_ends_the_job_with_its_message(tmp_path: Path) -> None:
    failed = torchrun(tmp_path, {"folder": tmp_path / "run", **OPTIONS}, 1, 4, "raise")
    assert failed.returncode != 0
    assert "ValueError: the planets are wrong" in failed.stderr
    assert "rank      : 1" in failed.stderr
