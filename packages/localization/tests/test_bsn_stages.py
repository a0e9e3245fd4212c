"""BSN's three stages in one command, which gives the same result after being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vidcore.engine.checkpoint import load

LENGTH, CHANNELS = 20, 8
TASK = """
extends = ["bsn_1xb16-400x100-20e_activitynet-feature"]

[stages.tem.model]
temporal_dim = 20
tem_feat_dim = 8
tem_hidden_dim = 16

[stages.tem.data.test.dataset]
ann_file = "full.json"

[stages.pem.model]
pem_hidden_dim = 16

[stages.pem.data.test.dataset]
ann_file = "val.json"

[data.train]
batch_size = 4
workers = 0

[data.train.dataset]
ann_file = "train.json"
data_root = "features"
suffix = ".npy"

[data.val]
workers = 0

[data.val.dataset]
ann_file = "val.json"
data_root = "features"
suffix = ".npy"

[data.test]
workers = 0

[data.test.dataset]
data_root = "features"
suffix = ".npy"

[train]
epochs = 3

[runtime]
device = "cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features that are higher within the action of each video, and a Task of all three stages."""
    folder = tmp_path_factory.mktemp("bsn")
    rng = np.random.default_rng(0)
    (folder / "features").mkdir()
    (folder / "task.toml").write_text(TASK)
    full: dict[str, object] = {}
    for part, number in (("train", 10), ("val", 4)):
        videos = {}
        for i in range(number):
            start = rng.uniform(2, 9)
            end = start + rng.uniform(4, 9)
            middles = np.arange(LENGTH) + 0.5
            features = rng.normal(size=(LENGTH, CHANNELS)) + 2 * ((middles > start) & (middles < end))[:, None]
            np.save(folder / "features" / f"v_{part}{i}.npy", features.astype(np.float32))
            videos[f"v_{part}{i}"] = {
                "duration_second": LENGTH,
                "annotations": [{"segment": [start, end], "label": "jump"}],
            }
        (folder / f"{part}.json").write_text(json.dumps(videos))
        full |= videos
    (folder / "full.json").write_text(json.dumps(full))
    return folder


def start(folder: Path, *launcher: str) -> subprocess.Popen[str]:
    run = "runs/two" if launcher else "runs/killed"
    command = [sys.executable, *launcher, "-m", "vidcore", "run", "task.toml", "--dir", run, "--resume"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, cwd=folder, stdout=pipe, stderr=pipe, text=True, env=os.environ | {"NO_COLOR": "1"}
    )


def finish(process: subprocess.Popen[str]) -> str:
    _, output = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def undisturbed(folder: Path, vidcore: Callable[..., str]) -> Path:
    vidcore(folder, "run", "task.toml", "--dir", "runs/whole")
    return folder / "runs" / "whole"


def outcome(run: Path) -> tuple[dict[str, torch.Tensor], dict[str, object], dict[str, float]]:
    """Weights, results and scores of the last stage."""
    newest = max((run / "pem" / "checkpoints").glob("epoch*.pt"))
    results = json.loads((run / "pem" / "results.json").read_text())
    return load(newest)["state_dict"], results, json.loads((run / "report.json").read_text())["scores"]


def assert_same(run: Path, other: Path) -> None:
    (weights, results, scores), (their_weights, their_results, their_scores) = outcome(run), outcome(other)
    assert all(torch.equal(value, their_weights[key]) for key, value in weights.items())
    assert results == their_results
    assert scores == their_scores


def test_one_command_runs_all_three(undisturbed: Path) -> None:
    report = json.loads((undisturbed / "report.json").read_text())
    assert list(report["stages"]) == ["tem", "pem"]
    assert report["scores"] == report["stages"]["pem"]
    assert report["scores"]["AR@100"] > 0.5
    assert len(list((undisturbed / "tem" / "tem_results").iterdir())) == 14
    assert len(list((undisturbed / "pgm" / "pgm_features").iterdir())) == 14


def test_killed_in_every_stage_it_gives_the_same_result(
    folder: Path, undisturbed: Path, vidcore: Callable[..., str]
) -> None:
    run = folder / "runs" / "killed"
    for moment in ("tem/tem_results/*.csv", "pgm/stage.json", "pem/checkpoints/epoch0001*.pt"):
        process = start(folder)
        while not any(run.glob(moment)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    again = ("run", "task.toml", "--dir", "runs/killed", "--resume")
    output = vidcore(folder, *again)
    assert "stage 1 of 3, tem: is done" in output
    assert_same(run, undisturbed)
    before = {path: path.stat().st_mtime_ns for path in run.glob("*/*") if path.is_file()}
    assert "stage 3 of 3, pem: is done" in vidcore(folder, *again)
    assert {path: path.stat().st_mtime_ns for path in run.glob("*/*") if path.is_file()} == before


def test_two_processes_run_the_stages_together(folder: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    output = finish(start(folder, *launcher))
    assert output.count("stage 3 of 3, pem: starts") == 1
    assert len(list((folder / "runs/two/pgm/pgm_proposals").iterdir())) == 14
    assert outcome(folder / "runs" / "two")[2]["AR@100"] > 0.5


def test_a_video_without_boundaries_is_named(folder: Path, vidcore: Callable[..., str]) -> None:
    (folder / "tables").mkdir()
    output = vidcore(folder, "data", "proposals", "val.json", "tables", "-o", "out", code=2)
    assert "v_val0.csv does not exist: there are no boundary probabilities of v_val0" in output
