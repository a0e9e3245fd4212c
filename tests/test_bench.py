"""``vidcore bench``: loader and model, separately and together."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from vidcore.cli import cli
from vidcore.config.toml import dumps
from vidcore.sample import Sample
from vidcore.transforms.loading import Decode


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """A tiny image network."""
    for i in range(6):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 20, 3), 40 * i, np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i % 2}\n" for i in range(6)))
    table = {
        "model": {
            "type": "Recognizer2D",
            "backbone": {"type": "MobileNetV2"},
            "cls_head": {"type": "TSNHead", "num_classes": 2, "in_channels": 1280},
            "data_preprocessor": {"type": "ActionDataPreprocessor", "mean": [120.0] * 3, "std": [60.0] * 3},
        },
        "data": {
            "train": {
                "dataset": {"type": "VideoDataset", "ann_file": "list.txt", "data_root": "."},
                "batch_size": 2,
                "pipeline": {"read": {"type": "Decode"}, "format": {"type": "FormatShape", "input_format": "NCHW"}},
            }
        },
        "optimizer": {"type": "SGD", "lr": 0.01},
        "runtime": {"device": "cpu"},
    }
    path = tmp_path / "tiny.toml"
    path.write_text(dumps(table))
    return path


def bench(*arguments: str) -> str:
    result = CliRunner().invoke(cli, ["bench", *arguments, "--seconds", "0.3"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_slow_step_is_found(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = Decode.__call__

    def slow(self: Decode, sample: Sample, rng: np.random.Generator) -> Sample:
        time.sleep(0.3)
        return fast(self, sample, rng)

    monkeypatch.setattr(Decode, "__call__", slow)
    found: dict[str, Any] = json.loads(bench(str(task), "--json"))
    assert (found["task"], found["device"], found["batch_size"], found["workers"]) == ("tiny", "cpu", 2, 0)
    assert list(found["loader"]["milliseconds_per_sample"]) == ["annotation", "read", "format", "collate"]
    assert found["loader"]["milliseconds_per_sample"]["read"] >= 300
    assert found["loader"]["samples_per_second"] < 1 / 0.3
    assert found["together"]["samples_per_second"] < found["model"]["samples_per_second"]
    shares = found["together"]["shares"]
    assert list(shares) == ["data", "transfer", "forward", "backward", "step"]
    assert sum(shares.values()) == pytest.approx(1)
    assert "the slowest step is read (Decode)" in found["advice"]
    assert "raise data.train.workers, which is 0" in found["advice"]


def test_results_are_printed_as_tables_and_no_files_are_written(task: Path) -> None:
    before = sorted(task.parent.iterdir())
    text = bench(str(task), "--set", "data.train.workers=1")
    assert text.startswith("tiny on cpu: batches of 2, 1 workers, ")
    for row in ("loader ", "model ", "together ", "annotation ", "read ", "format ", "collate ", "data ", "backward "):
        assert f"\n{row}" in text
    assert sorted(task.parent.iterdir()) == before


def test_missing_tables_are_reported(task: Path) -> None:
    task.write_text(task.read_text().replace("[optimizer]", "[info]"))
    with pytest.raises(ValueError, match="tiny: optimizer: is missing, and this command requires it"):
        bench(str(task))
