"""The report of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import frozen
from click.testing import CliRunner

from vidcore.cli import cli
from vidcore.data.policy import Failure
from vidcore.data.pool.loader import Loader
from vidcore.errors import ConfigError, UserError
from vidcore.metrics import DumpPredictions
from vidcore.predictions import PredictionFile
from vidcore.protocols import Dataset
from vidcore.sample import Sample
from vidcore.task.notes import Notes
from vidcore.task.report import coverage, finish, score_predictions


class Videos(Dataset):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index)


def test_bad_samples_of_all_processes_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loader = Loader(Videos(), ())
    loader.bad.record(Failure(1, 0, "1.mp4", "is not a video"))
    assert coverage(loader) == {"samples": 5, "used": 4, "fingerprint": Videos().fingerprint()}
    monkeypatch.setattr("vidcore.engine.dist.gather", lambda ours: [ours, {1, 3}])
    assert coverage(loader)["used"] == 3


@frozen
class Scored:
    """Stands for a Task with two metrics."""

    name = "scored"

    def require(self, *keys: str) -> None:
        pass

    def get(self, key: str) -> None:
        pass

    def metrics(self, part: str) -> dict[str, Any]:
        class One(DumpPredictions):
            def compute(self) -> dict[str, float]:
                return {"acc/top1": 1.0}

        return {"one": One(), "two": One()}


def test_two_metrics_must_not_return_the_same_score(tmp_path: Path) -> None:
    samples = (Sample(index=0, scores=np.ones(2, np.float32)),)
    with pytest.raises(ConfigError, match=r"metrics.two: another metric already returns a score 'acc/top1'"):
        score_predictions(Scored(), PredictionFile(samples, samples), tmp_path, "x")


def test_a_report_is_strict_json(tmp_path: Path) -> None:
    training = {"best": {"value": float("nan")}, "scores": [float("inf")]}
    finish(tmp_path, {"task": "t", "training": training}, {}, [], Notes())
    text = (tmp_path / "report.json").read_text()
    found = json.loads(text, parse_constant=lambda name: pytest.fail(f"JSON has no {name}"))
    assert found["training"] == {"best": {"value": "nan"}, "scores": ["inf"]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("compare", "."), "report.json: is not a report"),
        (("fuse", "a.npz", "b.npz", "-w", "1 nan", "-o", "c.npz"), "--weights '1 nan': must be numbers"),
        (("fuse", "a.npz", "b.npz", "-w", "1 x", "-o", "c.npz"), "--weights '1 x': must be numbers"),
    ],
)
def test_damaged_reports_and_weights_that_are_not_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    (tmp_path / "report.json").write_text("[1]")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        CliRunner().invoke(cli, arguments, catch_exceptions=False)


def test_a_metric_that_cannot_write_does_not_lose_the_report(tmp_path: Path) -> None:
    class Refused(DumpPredictions):
        def write(self, folder: Path) -> list[Path]:
            raise UserError("picture.png: is a link")

    report: dict[str, Any] = {"task": "a", "notes": []}
    with pytest.raises(UserError, match="is a link"):
        finish(tmp_path, report, {"a": Refused("a.npz")}, [], Notes())
    assert (tmp_path / "report.json").exists()
