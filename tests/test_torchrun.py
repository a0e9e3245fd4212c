"""Commands in two processes: scores and predictions equal those of one, and a failure of either ends both."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vidcore.config.toml import dumps
from vidcore.engine.weights import read_weights
from vidcore.plugins.catalog import load_plugins
from vidcore.predictions import PredictionFile
from vidcore.task.publish import publish_run
from vidcore.task.run_folder import RunFolder

SAMPLES = 7
"""Odd, so that the numbers of two processes differ."""

FAILING = """
import os, signal, sys

import torch
from vid_recognition.models.recognizers import Recognizer2D
from vidcore.cli import main
from vidcore.transforms.loading import Decode

torch.set_num_threads(1)
fault = sys.argv.pop(1)


def fail(*_):
    if fault == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    raise ValueError("the planets are wrong")


if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
    if fault == "killed":
        Recognizer2D.loss = fail
    if fault == "data":
        Decode.__call__ = fail
    if fault == "evaluation":  # the second one: the first is the dry run before training
        predict = iter([Recognizer2D.predict])
        Recognizer2D.predict = lambda *args: next(predict, fail)(*args)
main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Task that distinguishes dark and bright images."""
    folder = tmp_path_factory.mktemp("torchrun")
    lines = []
    for i in range(SAMPLES):
        picture = np.random.default_rng(i).integers(0, 60, (32, 32, 3), np.uint8) + np.uint8(90 * (i % 2))
        cv2.imwrite(str(folder / f"{i}.png"), picture)
        lines.append(f"{i}.png {i % 2}\n")
    (folder / "list.txt").write_text("".join(lines))
    part = {
        "dataset": {"type": "VideoDataset", "ann_file": "list.txt", "data_root": "."},
        "batch_size": 2,
        "pipeline": {"decode": {"type": "Decode"}, "format": {"type": "FormatShape", "input_format": "NCHW"}},
    }
    task: dict[str, Any] = {
        "model": {
            "type": "Recognizer2D",
            "backbone": {"type": "ResNet", "depth": 18, "norm_eval": False},
            "cls_head": {"type": "TSNHead", "num_classes": 2, "in_channels": 512},
            "data_preprocessor": {"type": "ActionDataPreprocessor", "mean": [120.0] * 3, "std": [60.0] * 3},
        },
        "data": {"train": {**part, "on_error": "raise"}, "val": part},
        "optimizer": {"type": "SGD", "lr": 0.01},
        "train": {"epochs": 1},
        "metrics": {"acc": {"type": "AccMetric"}},
        "runtime": {"device": "cpu"},
    }
    (folder / "task.toml").write_text(dumps(task))
    return folder


def torchrun(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run([*command, *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=150)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_and_score_like_one(folder: Path, strategy: str) -> None:
    strategy_ = ("--set", f"runtime.strategy={strategy}")
    trained = torchrun(folder, "-m", "vidcore", "run", "task.toml", "--dir", f"runs/{strategy}", *strategy_)
    assert trained.returncode == 0, trained.stderr
    assert trained.stdout.count("wrote") == 6
    best = f"runs/{strategy}/checkpoints/best.pt"
    test = ("-m", "vidcore", "test", "task.toml", "-c", best)
    both = torchrun(folder, *test, "--dir", f"{strategy}2", "--dump", f"kept/{strategy}2.npz", *strategy_)
    assert both.returncode == 0, both.stderr
    alone = [sys.executable, *test, "--dir", f"{strategy}1", "--dump", f"{strategy}1.npz"]
    subprocess.run(alone, cwd=folder, check=True, capture_output=True)
    reports = [json.loads((folder / f"{strategy}{n}/report.json").read_text()) for n in (1, 2)]
    assert reports[0]["scores"] == reports[1]["scores"]
    assert [r["protocol"]["coverage"] for r in reports] == [f"{SAMPLES} of {SAMPLES} samples"] * 2
    released = publish_run(RunFolder(folder / f"runs/{strategy}"), folder / f"released {strategy}", load_plugins())
    assert read_weights(released)[0].keys() == read_weights(folder / best)[0].keys()
    one, two = (PredictionFile.load(folder / f"{name}.npz") for name in (f"{strategy}1", f"kept/{strategy}2"))
    assert [t.index for t in two.targets] == [t.index for t in one.targets] == list(range(SAMPLES))
    for a, b in zip(one.predictions, two.predictions, strict=True):
        np.testing.assert_allclose(b.scores, a.scores, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("fault", "workers", "said"),
    [
        ("data", 1, "error (rank 1): RuntimeError: sample "),
        ("evaluation", 1, "error (rank 1): ValueError: the planets are wrong"),
        ("killed", 1, "Signal 9 (SIGKILL)"),
    ],
)
def test_a_failing_process_ends_all_processes(
    folder: Path, tmp_path: Path, fault: str, workers: int, said: str
) -> None:
    script = tmp_path / "script.py"
    script.write_text(FAILING)
    workers_ = [o for part in ("train", "val") for o in ("--set", f"data.{part}.workers={workers}")]
    done = torchrun(folder, script, fault, "run", "task.toml", "--dir", tmp_path / "run", *workers_)
    assert done.returncode != 0
    assert said in done.stderr
    assert "rank      : 1" in done.stderr.partition("Root Cause")[2]
    assert "error (rank 0): RuntimeError" not in done.stderr, "the other error is not a bug"
    assert not (tmp_path / "run/report.json").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends processes with their parent")
def test_processes_end_with_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    lines = ("import os, time, torch", "from vidcore.engine import dist", "dist.join(torch.device('cpu'))")
    script.write_text("\n".join((*lines, r"os.write(1, b'joined\n')", "time.sleep(60)")))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert started.stdout is not None
    # Both processes write to one pipe: print writes a line in two parts.
    assert [started.stdout.readline() for _ in range(2)] == ["joined\n"] * 2
    started.kill()
    started.communicate(timeout=20)  # returns once all of them have ended


def test_torchrun_restarts_all_after_a_failure(folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(FAILING)
    run = ("run", "task.toml", "--resume", "--dir", tmp_path / "run")
    done = torchrun(folder, "--max-restarts=1", script, "evaluation", *run)
    assert done.returncode == 0, done.stderr
    assert "from step 2" in done.stderr, "the checkpoint before the evaluation"
    assert (tmp_path / "run/report.json").exists()
