"""Runs from Python, and what a run logs."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vidcore
from vid_recognition.models.resnet import ResNet
from vidcore.config.toml import dumps
from vidcore.engine.meters import Meter, Reported
from vidcore.engine.prepare import fold_batchnorm
from vidcore.errors import ConfigError, UserError
from vidcore.plugins.catalog import load_plugins
from vidcore.protocols import Observer
from vidcore.task.task import Task


class Lines(Observer):
    """Counts the steps it is told about."""

    steps = 0

    def on_step(self, epoch: int, step: int, values: Any) -> None:
        self.steps += 1


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    """A network for pictures of two kinds, dark and bright."""
    import cv2

    for i in range(8):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((20, 20, 3), 60 + 120 * (i % 2), np.uint8))
    (tmp_path / "list.txt").write_text("".join(f"{i}.png {i % 2}\n" for i in range(8)))
    part = {
        "dataset": {"type": "VideoDataset", "ann_file": str(tmp_path / "list.txt"), "data_root": str(tmp_path)},
        "batch_size": 2,
        "pipeline": {"decode": {"type": "Decode"}, "format": {"type": "FormatShape", "input_format": "NCHW"}},
    }
    return {
        "model": {
            "type": "Recognizer2D",
            "backbone": {"type": "ResNet", "depth": 18, "norm_eval": False},
            "cls_head": {"type": "TSNHead", "num_classes": 2, "in_channels": 512},
            "data_preprocessor": {"type": "ActionDataPreprocessor", "mean": [120.0] * 3, "std": [60.0] * 3},
        },
        "data": {"train": part, "val": part},
        "optimizer": {"type": "SGD", "lr": 0.01},
        "train": {"epochs": 1, "log_interval": 1},
        "metrics": {"acc": {"type": "AccMetric"}},
        "runtime": {"device": "cpu"},
    }


def test_train_and_test_from_python(table: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(dumps(table))
    lines = Lines()
    report = vidcore.train(tmp_path / "task.toml", tmp_path / "run", observers=[lines], overrides=["train.epochs=2"])
    assert (report["training"]["epochs"], lines.steps) == (2, 8)
    assert report["scores"] == json.loads((tmp_path / "run/report.json").read_text())["scores"]
    assert (tmp_path / "run/curves.png").exists(), "all that vidcore run writes"
    found = vidcore.test(
        str(tmp_path / "task.toml"), tmp_path / "run/checkpoints/best.pt", tmp_path / "test", dump=tmp_path / "p.npz"
    )
    assert found["scores"].keys() == report["scores"].keys()
    assert (tmp_path / "p.npz").exists()
    source = tmp_path / "run/checkpoints/epoch0001-step00000004.pt"
    forked = vidcore.train(Task.from_table(table, load_plugins()), tmp_path / "fork", resume_from=source)
    assert forked["training"]["resumed_step"] == 4


def test_a_run_has_a_log(table: dict[str, Any], tmp_path: Path) -> None:
    class Warns(Observer):
        def on_epoch(self, epoch: int, values: Any) -> None:
            warnings.warn("the planets are close", stacklevel=2)

    task = Task.from_table(table, load_plugins())
    with pytest.warns(UserWarning, match="the planets are close"):
        vidcore.train(task, tmp_path / "run", observers=[Warns()])
    log = (tmp_path / "run/log.txt").read_text()
    for wanted in (
        r"INFO starts: 4 steps, 4 in an epoch",
        r"INFO note: data.val: 8 of its 8 videos are in data.train as well",
        r"INFO step: epoch 1  step 3  loss_cls [\d.]+ .*lr 0.01",
        r"WARNING the planets are close",
        r"INFO saved epoch0001-step00000004.pt",
        r"INFO evaluation: epoch 1  step 4  acc/top1 [\d.]+",
        r"INFO end: epoch 1  step 4  acc/top1 ",
    ):
        assert re.search(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ {wanted}", log, re.M), (wanted, log)
    table["optimizer"]["lr"] = 1e30
    with pytest.raises(UserError, match=r"loss became|weights contain"):
        vidcore.train(Task.from_table(table, load_plugins()), tmp_path / "nan")
    log = (tmp_path / "nan/log.txt").read_text()
    assert "ERROR ended by TrainingError" in log
    assert "Traceback (most recent call last)" in log


def test_metrics_of_validation_and_test_apart(table: dict[str, Any], tmp_path: Path) -> None:
    data = table["data"]
    data["test"] = {**data["val"], "metrics": {"acc": {"type": "AccMetric", "topk": [1, 2]}}}
    del table["metrics"]
    with pytest.raises(ConfigError, match=r"data.train.metrics: unknown key"):
        Task.from_table({**table, "data": {"train": data["test"]}}, load_plugins())
    data["val"] = {**data["val"], "metrics": {"report": {"type": "ClassReport"}}}
    report = vidcore.train(Task.from_table(table, load_plugins()), tmp_path / "run")
    assert "acc/top2" in report["scores"]
    assert "acc/top2" not in report["training"]["scores"]
    assert report["training"]["scores"]


def test_memory_of_a_gpu_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 << 20)
    meter = Meter()
    meter.add(Reported({"loss": torch.tensor(1.0)}))
    assert meter.flush({}, 0.1, torch.device("cuda", 0)).others == {"gpu_mib": 3.0}
    meter.add(Reported({"loss": torch.tensor(1.0)}))
    assert meter.flush({}, 0.1, torch.device("cpu")).others == {}


def test_folded_batch_norms_compute_the_same(table: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = ResNet(18).eval()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(2, 3, 32, 32)
    wanted = net(x)
    assert fold_batchnorm(net) == 20
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in net.modules())
    torch.testing.assert_close(net(x), wanted, rtol=1e-4, atol=1e-5)
    vidcore.train(Task.from_table(table, load_plugins()), tmp_path / "run")
    best, picture = tmp_path / "run/checkpoints/best.pt", [tmp_path / "1.png"]
    folded = {**table, "runtime": {**table["runtime"], "fold_batchnorm": True, "channels_last": True}}
    tasks = [Task.from_table(one, load_plugins()) for one in (table, folded)]
    plain, fast = (vidcore.Predictor(task, best)(picture)[0].scores for task in tasks)
    np.testing.assert_allclose(fast, plain, rtol=1e-4)
    assert vidcore.test(tasks[1], best, tmp_path / "test")["scores"]


def test_cudnn_may_not_choose_in_a_deterministic_run(table: dict[str, Any]) -> None:
    table["runtime"] |= {"cudnn_benchmark": True, "deterministic": True}
    with pytest.raises(ConfigError, match="cudnn_benchmark = true chooses algorithms by their time"):
        Task.from_table(table, load_plugins())
