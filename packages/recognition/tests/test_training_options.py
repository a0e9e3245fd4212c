"""Options of training that a whole run shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vidcore.engine.checkpoint import Checkpoints, load
from vidcore.errors import CheckpointError, ConfigError, DataError, UserError, VideoError
from vidcore.plugins.catalog import load_plugins
from vidcore.predict.predictor import Predictor
from vidcore.sample import Sample
from vidcore.task.evaluate import evaluate_checkpoint
from vidcore.task.task import Task
from vidcore.task.train import train
from vidcore.tools.bench import bench


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    """A network for pictures of two kinds, dark and bright."""
    lines = []
    for i in range(8):
        picture = np.full((20, 20, 3), 60 + 120 * (i % 2), np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture)
        lines.append(f"{i}.png {i % 2}\n")
    (tmp_path / "list.txt").write_text("".join(lines))
    dataset = {"type": "VideoDataset", "ann_file": str(tmp_path / "list.txt"), "data_root": str(tmp_path)}
    part = {
        "dataset": dataset,
        "batch_size": 2,
        "pipeline": {"decode": {"type": "Decode"}, "format": {"type": "FormatShape", "input_format": "NCHW"}},
    }
    preprocessor = {"type": "ActionDataPreprocessor", "mean": [120.0] * 3, "std": [60.0] * 3, "format_shape": "NCHW"}
    return {
        "model": {
            "type": "Recognizer2D",
            "backbone": {"type": "ResNet", "depth": 18, "norm_eval": False},
            "cls_head": {"type": "TSNHead", "num_classes": 2, "in_channels": 512},
            "data_preprocessor": preprocessor,
        },
        "data": {"train": part, "val": part},
        "optimizer": {"type": "SGD", "lr": 0.01},
        "train": {"epochs": 1, "log_interval": 1},
        "metrics": {"acc": {"type": "AccMetric"}},
        "runtime": {"device": "cpu"},
    }


def run(table: dict[str, Any], folder: Path, **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    table = {**table, "train": {**table["train"], **options}}
    report = train(Task.from_table(table, load_plugins()), folder)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return report, [line for line in lines if line["kind"] == "step"]


def test_learning_rate_for_another_batch_size(
    table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, steps = run(table, tmp_path / "a", base_batch_size=16, accumulate=2)
    assert [s["lr"] for s in steps] == [pytest.approx(0.01 * 4 / 16)] * 2
    why = "optimizer.lr 0.01 x 4/16: for 16 samples per step (train.base_batch_size), and here 4"
    assert f"learning rate 0.0025 = {why}\n" in capsys.readouterr().err
    again = {**table, "train": {**table["train"], "base_batch_size": 16, "accumulate": 2, "epochs": 2}}
    train(Task.from_table(again, load_plugins()), tmp_path / "a", resume=True)
    assert "learning rate" not in capsys.readouterr().err, "a checkpoint has the rates"
    last = json.loads((tmp_path / "a/metrics.jsonl").read_text().splitlines()[-3])
    assert last["lr"] == pytest.approx(0.01 * 4 / 16)
    _, steps = run(table, tmp_path / "b")
    assert steps[0]["lr"] == 0.01
    unset = "learning rate 0.01 = optimizer.lr: not scaled, since train.base_batch_size is not set\n"
    assert unset in capsys.readouterr().err
    _, steps = run(table, tmp_path / "same", base_batch_size=2)
    assert steps[0]["lr"] == 0.01
    same = "learning rate 0.01 = optimizer.lr, which is for steps of 2 samples, as here (train.base_batch_size)\n"
    assert same in capsys.readouterr().err
    table["optimizer"] = {"type": "AdamW"}
    with pytest.raises(ConfigError, match=r"base_batch_size: scales optimizer.lr, which must be given"):
        run(table, tmp_path / "c", base_batch_size=16)


def test_options_that_contradict_each_other_are_found_by_the_check(table: dict[str, Any]) -> None:
    table["train"] |= {"steps": 3}
    table["runtime"] |= {"strategy": "fsdp", "channels_last": True}
    with pytest.raises(ConfigError) as found:
        Task.from_table(table, load_plugins())
    assert len(found.value.problems) == 2
    assert "epochs = 1 and steps = 3" in found.value.problems[0]
    assert 'channels_last = true does not work with strategy = "fsdp"' in found.value.problems[1]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load(Checkpoints(folder / "checkpoints").paths()[-1])["state_dict"]
    return state


def test_weights_to_start_from(table: dict[str, Any], tmp_path: Path) -> None:
    table["optimizer"]["lr"] = 0.0
    table["data"].pop("val")
    run(table, tmp_path / "first", epochs=1)
    table["runtime"]["seed"] = 1
    run(table, tmp_path / "other", epochs=1)
    first, other = (weights_of(tmp_path / name)["backbone.conv1.conv.weight"] for name in ("first", "other"))
    assert not torch.equal(first, other), "the seed decides"
    file = tmp_path / "weights.pt"
    pruned = {k: v for k, v in weights_of(tmp_path / "first").items() if not k.startswith("backbone.layer4")}
    torch.save(pruned, file)
    with pytest.raises(CheckpointError, match=r"backbone.layer4"):
        run(table, tmp_path / "refused", epochs=1, weights=str(file))
    run(table, tmp_path / "tuned", epochs=1, weights=str(file), weights_ignore=["backbone.layer4"])
    assert torch.equal(weights_of(tmp_path / "tuned")["backbone.conv1.conv.weight"], first)


def test_the_machine(table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    table["runtime"] |= {"deterministic": True, "run_dir": str(tmp_path / "where")}
    table["train"] = {"steps": 1}
    try:
        train(Task.from_table(table, load_plugins()))
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert (tmp_path / "where/report.json").exists()
    table["runtime"] = {"device": "cuda:99"}
    with pytest.raises(UserError, match=r"runtime.device: 'cuda:99' cannot be used here"):
        run(table, tmp_path / "nowhere")


def test_what_is_measured_is_what_would_train(table: dict[str, Any]) -> None:
    found = bench(Task.from_table(table, load_plugins()), seconds=0.1)
    assert all(found[name]["samples_per_second"] > 0 for name in ("loader", "model", "together"))
    assert set(found["together"]["shares"]) == {"data", "transfer", "forward", "backward", "step"}
    assert sum(found["together"]["shares"].values()) == pytest.approx(1)
    table["runtime"]["sync_batchnorm"] = True
    with pytest.raises(ConfigError, match="requires GPUs"):
        bench(Task.from_table(table, load_plugins()), seconds=0.1)


def test_options_without_effect_are_said(
    table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vid_recognition.datasets.video.VideoDataset.notes", lambda self: ["a label is odd"])
    del table["data"]["val"]
    table["schedule"] = {"warmup": {"type": "LinearLR", "end": 34}}
    table["data"]["train"] = {**table["data"]["train"], "time_limit": 5.0}
    report, _ = run(table, tmp_path / "a", early_stop=2, best="acc/top1", accumulate=5)
    says = "has no effect without evaluations during training: set data.val and metrics"
    wanted = [f"train.early_stop: {says}", f"train.best: {says}"]
    wanted.append("train.accumulate: a step is at most an epoch, which has 4 batches")
    wanted.append("data.train.time_limit: has no effect with data.train.workers = 0")
    wanted.append("schedule.warmup: is made for 34 epochs, but the run has 1")
    assert report["notes"] == [*wanted, "data.train: a label is odd"]
    seen = capsys.readouterr()
    for note in report["notes"]:
        assert seen.err.count(f"note: {note}") == 1, "at the start"
        assert note not in seen.out.replace("\n", " "), "and not again"
    monkeypatch.undo()
    del table["schedule"], table["data"]["train"]["time_limit"]
    assert run(table, tmp_path / "b")[0]["notes"] == []


def test_a_run_is_not_tested_into_and_what_is_too_small_is_named(table: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/task.toml").touch()
    task = Task.from_table(table, load_plugins())
    with pytest.raises(UserError, match=r"run: holds a run, whose report would be overwritten; choose another folder"):
        evaluate_checkpoint(task, tmp_path / "none.pt", tmp_path / "run")
    table["data"]["train"] = {**table["data"]["train"], "batch_size": 9, "drop_last": True}
    with pytest.raises(DataError, match=r"^data.train: 8 samples do not fill one batch of 9 for 1 processes"):
        run(table, tmp_path / "small")


def test_stopping_early_is_said(table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table["optimizer"]["lr"] = 0.0
    options = {"epochs": 5, "early_stop": 1, "val_loss": True, "precise_bn": 1, "ema_decay": 0.5}
    report, _ = run(table, tmp_path / "a", **options)
    assert report["training"]["stopped_early"] is True
    assert report["training"]["epochs"] == 2
    assert "stopped early: no improvement on acc/top1" in capsys.readouterr().err
    assert report["training"]["scores"]["val/loss"] == pytest.approx(report["training"]["scores"]["val/loss_cls"])


def test_samples_that_cannot_be_read_are_said(
    table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "3.png").write_bytes(b"no picture")
    report, _ = run(table, tmp_path / "run", epochs=2)
    listed = tmp_path / "run/bad_samples.jsonl"
    said = f"data.train: 1 of 8 samples is bad (class 1 loses 1 of 4); {listed} lists them"
    assert said in report["notes"]
    seen = capsys.readouterr()
    assert (seen.err + seen.out).count(f"note: {said}") == 1, "neither in every epoch nor again at the end"
    assert f"wrote {listed}" in seen.out
    assert f"wrote {tmp_path}/run/bad_samples_val.jsonl" in seen.out
    best = tmp_path / "run/checkpoints/best.pt"
    for _ in range(2):
        report = evaluate_checkpoint(Task.from_table(table, load_plugins()), best, tmp_path / "test")
        assert any("data.val: 1 of 8 samples is bad (class 1 loses 1 of 4)" in note for note in report["notes"])
        assert report["evaluation_data"]["used"] == 7
    (tmp_path / "3.png").write_bytes((tmp_path / "5.png").read_bytes())
    report = evaluate_checkpoint(Task.from_table(table, load_plugins()), best, tmp_path / "test")
    assert report["evaluation_data"]["used"] == 8, "an earlier list counts no more"
    table["data"]["train"] = {**table["data"]["train"], "bad_budget": 0.5}
    again = {**table, "train": {"epochs": 3, "log_interval": 1}}
    assert train(Task.from_table(again, load_plugins()), tmp_path / "run", resume=True)["training"]["epochs"] == 3


def test_a_file_whose_scores_are_nan_is_named(
    table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = Task.from_table(table, load_plugins())
    torch.save(task.build("model").state_dict(), tmp_path / "a.pt")
    predictor = Predictor(task, tmp_path / "a.pt")
    predict = predictor.model.predict

    def broken(outputs: Any, batch: Any) -> list[Sample]:
        return [s.replace(scores=s.scores * np.nan) if s.index == 1 else s for s in predict(outputs, batch)]

    monkeypatch.setattr(predictor.model, "predict", broken)
    files = [str(tmp_path / f"{i}.png") for i in range(3)]
    found = predictor(files, on_error="keep")
    assert [sample.error for sample in found] == [None, f"{files[1]}: its scores contain NaN", None]
    with pytest.raises(VideoError, match=r"1\.png: its scores contain NaN"):
        predictor(files)


def test_an_evaluation_cannot_replace_bad_samples(table: dict[str, Any]) -> None:
    table["data"]["val"] = {**table["data"]["val"], "on_error": "resample"}
    with pytest.raises(ConfigError, match=r'data.val.on_error: "resample" would score another sample'):
        Task.from_table(table, load_plugins())
