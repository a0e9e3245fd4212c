"""``data.labels`` and ``data.balance``: one key for what datasets, model, metrics and predictions must agree on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vid_recognition.metrics.accuracy import AccMetric
from vid_recognition.metrics.functional import best_thresholds, f1_scores
from vid_recognition.metrics.report import ClassReport
from vid_recognition.models.losses import BCELossWithLogits, CBFocalLoss, CrossEntropyLoss
from vidcore.data.thresholds import thresholds_beside_weights
from vidcore.engine.checkpoint import load
from vidcore.errors import CheckpointError, ConfigError, DataError, UserError
from vidcore.plugins.catalog import load_plugins
from vidcore.predict.output import entry
from vidcore.predict.predictor import Predictor
from vidcore.sample import Sample
from vidcore.task.check import check_build, check_parts
from vidcore.task.evaluate import evaluate_checkpoint
from vidcore.task.publish import publish_run
from vidcore.task.run_folder import RunFolder
from vidcore.task.task import Task
from vidcore.task.train import train

CATALOG = load_plugins()


@pytest.fixture
def table(tmp_path: Path) -> dict[str, Any]:
    """Pictures that are bright, blue, both or neither."""
    lines = ["path,label"]
    for i in range(8):
        picture = np.full((16, 16, 3), 40 + 120 * (i % 2), np.uint8)
        picture[..., 0] += np.uint8(60 * (i // 2 % 2))
        cv2.imwrite(str(tmp_path / f"{i}.png"), picture)
        lines.append(f"{i}.png,{';'.join(['bright'] * (i % 2) + ['blue'] * (i // 2 % 2))}")
    (tmp_path / "list.csv").write_text("\n".join(lines))
    (tmp_path / "classes.txt").write_text("blue\nbright\n")
    dataset = {"type": "VideoDataset", "ann_file": str(tmp_path / "list.csv"), "data_root": str(tmp_path)}
    resize = {"type": "Resize", "scale": [16, 16], "keep_ratio": False}
    steps = {
        "open": {"type": "OpenVideo"},
        "sample": {"type": "SampleFrames", "clip_len": 1, "test_mode": True},
        "decode": {"type": "Decode"},
        "resize": resize,
        "format": {"type": "FormatShape", "input_format": "NCHW"},
    }
    part = {"dataset": dataset, "batch_size": 4, "pipeline": steps}
    preprocessor = {"type": "ActionDataPreprocessor", "mean": [120.0] * 3, "std": [60.0] * 3}
    return {
        "model": {
            "type": "Recognizer2D",
            "backbone": {"type": "ResNet", "depth": 18, "num_stages": 1, "out_indices": [0], "norm_eval": False},
            "cls_head": {"type": "TSNHead", "num_classes": 2, "in_channels": 64},
            "data_preprocessor": preprocessor,
        },
        "data": {
            "labels": "multi",
            "classes": str(tmp_path / "classes.txt"),
            "train": part,
            "val": part,
            "test": {**part, "dataset": {**dataset, "indices": 6}},
        },
        "optimizer": {"type": "SGD", "lr": 0.05},
        "train": {"epochs": 2},
        "metrics": {"acc": {"type": "AccMetric"}, "classes": {"type": "ClassReport"}},
        "runtime": {"device": "cpu"},
    }


def changed(table: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    table = json.loads(json.dumps(table))
    *above, last = key.split(".")
    at = table
    for name in above:
        at = at.setdefault(name, {})
    at[last] = value
    return table


def test_one_key_for_data_model_metrics_and_predictions(
    table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = train(Task.from_table(table, CATALOG, "multi"), tmp_path / "run")
    said = capsys.readouterr().err
    assert (
        'data.labels = "multi": model: sigmoid and BCELossWithLogits; metrics.acc: mean_average_precision and f1, with '
        "a threshold for each class; multi_class = true in data.train.dataset, data.val.dataset, data.test.dataset\n"
    ) in said
    assert set(report["scores"]) >= {"acc/mean_average_precision", "acc/f1", "acc/micro_f1", "class/f1"}
    assert "acc/f1: at the thresholds chosen on the validation data" in report["notes"]
    best = load(tmp_path / "run/checkpoints/best.pt")
    thresholds = best["thresholds"]
    assert len(thresholds) == 2 and all(0 < t < 1 for t in thresholds)

    resolved = Task.load(tmp_path / "run/task.toml", CATALOG)  # states both, which agree
    assert resolved.table["model"]["cls_head"]["multi_class"] is True
    tested = evaluate_checkpoint(resolved, tmp_path / "run/checkpoints/best.pt", tmp_path / "test")
    assert tested["scores"] == report["scores"]

    release = publish_run(RunFolder(tmp_path / "run"), tmp_path, CATALOG)
    predictor = Predictor(release)
    assert predictor.thresholds == tuple(thresholds)
    for sample in predictor([tmp_path / f"{i}.png" for i in range(2)]):
        assert sample.scores is not None
        found = entry(sample, 1, predictor.thresholds)
        above = [n for n, s, t in zip(("blue", "bright"), sample.scores, thresholds, strict=True) if s >= t]
        assert {row["class"] for row in found.record["classes"] if row["label"]} == set(above)
        assert len(found.lines) == 1 + max(len(above), 1)


def test_damaged_thresholds_are_refused() -> None:
    assert thresholds_beside_weights({}) is None
    with pytest.raises(CheckpointError, match=r"a.pt: thresholds.1 must be a number, and is 'nan'"):
        thresholds_beside_weights({"thresholds": [0.5, "nan"]}, "a.pt")
    with pytest.raises(CheckpointError, match=r"a.pt: thresholds must be a list of numbers, and is a str"):
        thresholds_beside_weights({"thresholds": "0.5"}, "a.pt")


CONTRADICTIONS = [
    (
        "model.cls_head.multi_class",
        False,
        'model.cls_head.multi_class: is false, which contradicts task: data.labels = "multi"',
    ),
    ("data.val.dataset.multi_class", False, "data.val.dataset.multi_class: is false, which contradicts"),
    ("data.balance", "sampling", ""),
    ("data.balance", "loss", ""),
    (
        "model.cls_head.loss_cls",
        {"type": "CrossEntropyLoss"},
        'model: cls_head.loss_cls (CrossEntropyLoss) is for one label for each sample, but data.labels is "multi"',
    ),
    (
        "metrics.acc.metric_list",
        ["top_k_accuracy"],
        "metrics.acc: metric_list has top_k_accuracy, which needs one label for each sample, but data.labels is",
    ),
    (
        "metrics.confusion",
        {"type": "ConfusionMatrix"},
        "metrics.confusion: ConfusionMatrix compares single",
    ),
]


@pytest.mark.parametrize(("key", "value", "message"), CONTRADICTIONS)
def test_settings_that_contradict_name_both_keys(table: dict[str, Any], key: str, value: Any, message: str) -> None:
    def check() -> None:
        check_parts(Task.from_table(changed(table, key, value), CATALOG))

    if not message:
        check()
        return
    with pytest.raises(ConfigError) as found:
        check()
    assert message in str(found.value)


def test_single_labels_contradict_what_is_for_several(table: dict[str, Any], tmp_path: Path) -> None:
    single = changed(changed(table, "data.labels", "single"), "model.cls_head.loss_cls", {"type": "BCELossWithLogits"})
    with pytest.raises(ConfigError, match=r"cls_head.loss_cls \(BCELossWithLogits\) is for several labels for"):
        check_parts(Task.from_table(single, CATALOG))
    several = changed(single, "data.train.dataset.multi_class", True)
    with pytest.raises(ConfigError, match=r'data.train.dataset.multi_class: is true, which contradicts .* = "single"'):
        Task.from_table(several, CATALOG)
    for name in ("blue", "bright"):
        (tmp_path / "folders" / name).mkdir(parents=True)
        (tmp_path / "folders" / name / "a.mp4").touch()
    folders = {"type": "FolderDataset", "data_root": str(tmp_path / "folders")}
    with pytest.raises(ConfigError, match=r'FolderDataset has one label for each sample, but data.labels is "multi"'):
        check_build(Task.from_table(changed(table, "data.train.dataset", folders), CATALOG))


def test_balance(table: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sampled = Task.from_table(changed(table, "data.balance", "sampling"), CATALOG)
    assert sampled.table["data"]["train"]["balanced"] is True
    for balance, given, shown in (("sampling", False, "false"), ("loss", True, "true")):
        wrong = changed(changed(table, "data.balance", balance), "data.train.balanced", given)
        with pytest.raises(ConfigError, match=rf'data.train.balanced: is {shown}, which contradicts .* = "{balance}"'):
            Task.from_table(wrong, CATALOG)
    weighted = changed(changed(table, "data.balance", "loss"), "train", {"steps": 1})
    train(Task.from_table(weighted, CATALOG), tmp_path / "run")
    said = capsys.readouterr().err
    assert 'data.balance = "loss": a label counts 1 to 1 times: samples without it, divided by those with it\n' in said
    wrong = changed(weighted, "model.cls_head.loss_cls", {"type": "BCELossWithLogits", "class_weight": [1.0, 2.0]})
    with pytest.raises(ConfigError, match=r'data.balance: "loss": cls_head.loss_cls.class_weight sets the weights'):
        train(Task.from_table(wrong, CATALOG), tmp_path / "wrong")


def test_weights_of_classes_make_them_count_equally() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0] * 6 + [1] * 2)
    counts = torch.tensor([6, 2, 0])
    scores = torch.randn(8, 3)
    loss = CrossEntropyLoss()
    each = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    assert loss.weight_classes(counts, 8).startswith("the loss of a class counts 0.667 to 2 times")
    torch.testing.assert_close(loss(scores, labels), (each[:6].mean() + each[6:].mean()) / 2)
    several = BCELossWithLogits()
    several.weight_classes(counts, 8)
    assert several.pos_weight is not None and several.pos_weight.tolist() == pytest.approx([1 / 3, 3, 1])
    multi_hot = torch.nn.functional.one_hot(labels, 3).float()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(scores, multi_hot, reduction="none")
    torch.testing.assert_close(
        several(scores, multi_hot), (entropy * (1 + multi_hot * (several.pos_weight - 1))).mean()
    )
    with pytest.raises(UserError, match="weights of its own"):
        CBFocalLoss([3, 2]).weight_classes(counts, 8)
    with pytest.raises(UserError, match="class_weight sets the weights of classes, too"):
        CrossEntropyLoss(class_weight=[1.0, 2.0, 1.0]).weight_classes(counts, 8)


def test_thresholds_have_the_highest_f1_of_all() -> None:
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 9, (40, 6)) / 9  # with ties
    labels = (rng.random((40, 6)) < scores).astype(np.float32)
    labels[:, 5] = 0
    found = best_thresholds(scores, labels)
    assert found[5] == 0.5
    for k in range(5):
        tried = [f1_scores(scores[:, k : k + 1] >= t, labels[:, k : k + 1])[0] for t in (*np.unique(scores), 2)]
        own = f1_scores(scores[:, k : k + 1] >= found[k], labels[:, k : k + 1])[0]
        assert own == max(tried)
    macro, micro = f1_scores([[True, False], [True, True]], [[1, 0], [0, 1]])
    assert (macro, micro) == (pytest.approx((2 / 3 + 1) / 2), pytest.approx(4 / 5))
    assert np.isnan(f1_scores(np.zeros((2, 3), bool), np.zeros((2, 3)))).all()


def samples(scores: Any, labels: Any) -> tuple[list[Sample], list[Sample]]:
    targets = [Sample(index=i, labels=np.array(row, np.float32)) for i, row in enumerate(labels)]
    return [t.replace(scores=np.array(s, np.float32)) for t, s in zip(targets, scores, strict=True)], targets


def test_metrics_decide_at_the_thresholds_of_the_weights() -> None:
    predicted, targets = samples([[0.4, 0.9], [0.2, 0.8], [0.1, 0.3]], [[1, 1], [0, 0], [0, 0]])
    metric, report = AccMetric(multi_class=True), ClassReport(multi_class=True)
    for one in (metric, report):
        one.update(predicted, targets)
    assert metric.compute() == {"acc/mean_average_precision": 1.0, "acc/f1": pytest.approx(1 / 3), "acc/micro_f1": 0.5}
    assert metric.notes() == ["acc/f1: at 0.5"]
    kept = metric.keep()
    assert kept["thresholds"] == pytest.approx([0.3, 0.85])
    metric.use(kept)
    report.use(kept)
    assert metric.compute()["acc/f1"] == 1.0
    assert report.compute() == {"class/precision": 1.0, "class/recall": 1.0, "class/f1": 1.0}
    assert [row["support"] for row in report.table()] == [1, 1]
    metric.use({"thresholds": [0.5]})
    with pytest.raises(DataError, match="the weights have 1 thresholds, but scores of 2 classes"):
        metric.compute()
    single = AccMetric()
    assert single.metric_list == ("top_k_accuracy", "mean_class_accuracy")
    with pytest.raises(DataError, match="ClassReport: multi_class = true needs scores of each class and multi-hot"):
        report.update([Sample(scores=np.zeros(2, np.float32))], [Sample(label=1)])


def test_labels_of_a_video() -> None:
    sample = Sample(path="a.mp4", scores=np.array([0.6, 0.3, 0.9], np.float32), class_names=("run", "sit", "eat"))
    found = entry(sample, 1, (0.5, 0.2, 0.95))
    assert found.lines == ["a.mp4", "    0.6000  run", "    0.3000  sit"]
    rows = [(row["class"], row["label"]) for row in found.record["classes"]]
    assert rows == [("eat", False), ("run", True), ("sit", True)]
    assert found.columns == ("class", "score", "label")
    none = entry(sample, 1, (1.0, 1.0, 1.0))
    assert none.lines == ["a.mp4", "  no label; the best, eat, has 0.9000"]
    assert "label" not in entry(sample, 1).record["classes"][0]
