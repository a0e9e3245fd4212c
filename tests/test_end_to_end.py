"""The command line from end to end: demo, check, explain, run, kill, resume, test, predict."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from vidcore import cli
from vidcore.engine.checkpoint import Checkpoints, load
from vidcore.predict.predictor import Predictor, top_classes

SMALL = [
    *("model.backbone.base_channels=4", "model.cls_head.in_channels=16"),
    *("data.train.batch_size=3", "train.epochs=4", "train.val_interval=2"),
]
STEPS = 32  # 24 videos in batches of 3, four epochs
KILLED_AT = 13
ENVIRONMENT = os.environ | {"COLUMNS": "200", "NO_COLOR": "1", "OMP_NUM_THREADS": "1"}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "vidcore", *arguments]


def vidcore(*arguments: str, cwd: Path) -> str:
    """Run a command that must succeed, and return its output."""
    settings: dict[str, Any] = {"capture_output": True, "text": True, "check": False, "timeout": 300}
    done = subprocess.run(command(*arguments), cwd=cwd, env=ENVIRONMENT, **settings)
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def vidcore_here(*arguments: str, cwd: Path) -> str:
    """Do the same in this process, which has imported PyTorch."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(), contextlib.redirect_stdout(said):
        patch.chdir(cwd)
        patch.setenv("COLUMNS", ENVIRONMENT["COLUMNS"])
        patch.setenv("NO_COLOR", "1")
        warnings.simplefilter("default")
        assert cli.run(arguments) == 0, said.getvalue()
    return said.getvalue()


def settings(*more: str) -> list[str]:
    return [part for value in (*SMALL, *more) for part in ("--set", value)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Demo data, checked, explained and trained on: runs ``a`` (the Task) and ``b`` (the output of ``explain``)."""
    folder = tmp_path_factory.mktemp("end to end")
    assert "Next: vidcore run demo/task.toml" in vidcore(
        "demo", "recognition", "demo", "--videos-per-class", "4", cwd=folder
    )
    assert vidcore_here("check", "demo/task.toml", cwd=folder) == "task: fine\n"
    vidcore_here("explain", "demo/task.toml", *settings(), "-o", "explained.toml", cwd=folder)
    (folder / "said.txt").write_text(vidcore("run", "demo/task.toml", "--dir", "a", *settings(), cwd=folder))
    vidcore_here("run", "explained.toml", "--dir", "b", cwd=folder)
    return folder


def weights(run: Path) -> dict[str, torch.Tensor]:
    content = load(Checkpoints(run / "checkpoints").paths()[-1])
    assert content["step"] == STEPS
    state: dict[str, torch.Tensor] = content["state_dict"]
    return state


def assert_same_weights(a: Path, b: Path) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_run_prints_results_and_paths(folder: Path) -> None:
    said = (folder / "said.txt").read_text()
    report = json.loads((folder / "a" / "report.json").read_text())
    assert f"acc/top1  │ {report['scores']['acc/top1']:.4f}" in said
    assert report["protocol"]["coverage"] == "8 of 8 samples"
    written = [folder / name for name in re.findall(r"^wrote (.+)$", said, re.MULTILINE)]
    names = {"task.toml", "metrics.jsonl", "best.pt", "report.json"}
    names |= {"confusion_matrix.png", "confusion_matrix.csv", "curves.png", "predictions.csv"}
    assert {path.name for path in written} == names
    assert all(path.stat().st_size for path in written)


def test_the_output_of_explain_gives_the_same_result(folder: Path) -> None:
    assert_same_weights(folder / "a", folder / "b")
    first, second = (json.loads((folder / run / "report.json").read_text()) for run in "ab")
    assert first["scores"] == second["scores"]


def test_a_killed_run_resumes_to_the_same_bits(folder: Path) -> None:
    arguments = ["run", "demo/task.toml", "--dir", "c", *settings("train.checkpoint_steps=3", "train.log_interval=1")]
    with (folder / "killed.txt").open("w") as log:
        running = subprocess.Popen(command(*arguments), cwd=folder, env=ENVIRONMENT, stdout=log, stderr=log)
        metrics = folder / "c" / "metrics.jsonl"
        while running.poll() is None and not (metrics.exists() and metrics.read_text().count('"step", ') > KILLED_AT):
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL, (folder / "killed.txt").read_text()
    vidcore(*arguments, "--resume", "--set", "data.train.workers=2", cwd=folder)
    assert_same_weights(folder / "a", folder / "c")
    steps = [json.loads(line) for line in (folder / "c" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in steps if line["kind"] == "step"] == list(range(1, STEPS + 1))


def test_test_gives_the_scores_of_the_run(folder: Path) -> None:
    best = "a/checkpoints/best.pt"
    said = vidcore_here("test", "explained.toml", "-c", best, "--dir", "tested", cwd=folder)
    run, test = (json.loads((folder / name / "report.json").read_text()) for name in ("a", "tested"))
    assert test["scores"] == run["scores"]
    assert f"acc/top1  │ {test['scores']['acc/top1']:.4f}" in said
    assert (folder / "tested" / "confusion_matrix.png").exists()


def test_predictions_on_the_command_line_and_in_python(folder: Path) -> None:
    best = "a/checkpoints/best.pt"
    video = "demo/videos/left 000.mp4"
    classes = (folder / "demo" / "classes.txt").read_text().split()

    lines = vidcore_here("predict", "explained.toml", video, "-c", best, "--top", "3", cwd=folder).splitlines()
    assert lines[0] == video
    shown = [(line.split()[1], float(line.split()[0])) for line in lines[1:]]
    assert len(shown) == 3

    predict = ["predict", "explained.toml", "demo/videos", "-c", best, "--json", "--top", "8", "--batch-size", "5"]
    records = [json.loads(line) for line in vidcore(*predict, cwd=folder).splitlines()]
    videos = sorted(str(path.relative_to(folder)) for path in (folder / "demo" / "videos").iterdir())
    assert [record["video"] for record in records] == videos

    predictor = Predictor(folder / "explained.toml", folder / best)
    samples = predictor([folder / name for name in videos])
    assert predictor.class_names == tuple(classes)
    for record, sample in zip(records, samples, strict=True):
        scores = {entry["class"]: entry["score"] for entry in record["classes"]}
        assert scores == pytest.approx(dict(top_classes(sample, 8)), abs=1e-5)
        assert sum(scores.values()) == pytest.approx(1, abs=1e-4)
    one = samples[videos.index(video)]
    assert shown == [(name, pytest.approx(score, abs=1e-4)) for name, score in top_classes(one, 3)]
