"""ActionFormer from feature files to scores with `vidcore run`, also after an interruption."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vid_localization.results import read_results
from vidcore.engine.checkpoint import load

CHANNELS, CLASSES = 12, ("jump", "run", "turn")
TASK = """
[model]
type = "ActionFormer"
feat_dim = 12
num_classes = 3
hidden_dim = 32
levels = 4
window_size = 9
initial_positives = 20.0

[data.all.pipeline.features]
type = "LoadLocalizationFeature"

[data.train]
batch_size = 4
workers = 0

[data.train.dataset]
type = "ActivityNetDataset"
ann_file = "train.json"
data_root = "features"
suffix = ".npy"

[data.val]
workers = 0

[data.val.dataset]
type = "ActivityNetDataset"
ann_file = "val.json"
data_root = "features"
suffix = ".npy"

[train]
epochs = 10
val_interval = 10
clip_norm = 1.0
ema_decay = 0.9
keep = 0

[optimizer]
type = "AdamW"
lr = 0.004
weight_decay = 0.05

[metrics.detections]
type = "ANetMetric"
metric_type = "mAP"

[runtime]
device = "cpu"
"""

PUBLISHED = """
extends = ["actionformer_activitynet-tsp"]

[model]
feat_dim = 12
hidden_dim = 32
initial_positives = 20.0

[data.train]
batch_size = 4
workers = 0

[data.train.dataset]
ann_file = "train.json"
data_root = "features"

[data.train.pipeline.features]
length = 48

[data.val]
workers = 0

[data.val.dataset]
ann_file = "val.json"
data_root = "features"

[data.val.pipeline.features]
length = 48

[data.val.pipeline.classes]
file = "classes.json"

[train]
epochs = 10
val_interval = 10
ema_decay = 0.9
base_batch_size = 4

[optimizer]
lr = 0.005

[schedule.warmup]
end = 2

[schedule.cosine]
begin = 2
end = 10

[runtime]
device = "cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of videos of different lengths; the segments of each class shift them in a different direction."""
    folder = tmp_path_factory.mktemp("actionformer")
    rng = np.random.default_rng(0)
    (folder / "features").mkdir()
    (folder / "task.toml").write_text(TASK)
    directions = 2 * rng.standard_normal((len(CLASSES), CHANNELS))
    for part, number in (("train", 24), ("val", 6)):
        videos: dict[str, object] = {}
        for i in range(number):
            length = int(rng.integers(40, 60))
            features = rng.standard_normal((length, CHANNELS))
            middles, at, annotations = np.arange(length) + 0.5, rng.uniform(1, 6), []
            while (end := at + rng.uniform(3, 16)) < length:
                label = int(rng.integers(len(CLASSES)))
                features[(middles > at) & (middles < end)] += directions[label]
                annotations.append({"segment": [at / 2, end / 2], "label": CLASSES[label]})
                at = end + rng.uniform(2, 8)
            np.save(folder / "features" / f"{part}{i}.npy", features.astype(np.float32))
            videos[f"{part}{i}"] = {"duration_second": length / 2, "annotations": annotations}
        (folder / f"{part}.json").write_text(json.dumps(videos))
    return folder


@pytest.fixture(scope="module")
def whole(folder: Path, vidcore: Callable[..., str]) -> Path:
    vidcore(folder, "run", "task.toml", "--dir", "whole")
    return folder / "whole"


def test_it_detects_segments_and_classes(whole: Path) -> None:
    scores = json.loads((whole / "report.json").read_text())["scores"]
    assert scores["mAP@0.50"] > 0.9
    assert scores["average_mAP"] > 0.6
    results = read_results(whole / "results.json", CLASSES)
    assert results.keys() == {f"val{i}" for i in range(6)}
    assert all(0 < len(found) <= 200 for found in results.values())


def test_its_submission_has_the_same_scores(folder: Path, whole: Path, vidcore: Callable[..., str]) -> None:
    vidcore(folder, "score", "whole/results.json", "task.toml", "--read", "submission", "--dir", "scored")
    found, wanted = (json.loads((path / "report.json").read_text())["scores"] for path in (folder / "scored", whole))
    assert found == pytest.approx(wanted)


def test_an_interrupted_run_gives_the_same_result(folder: Path, whole: Path, vidcore: Callable[..., str]) -> None:
    (kept,) = sorted((whole / "checkpoints").glob("epoch0005*.pt"))
    (folder / "again" / "checkpoints").mkdir(parents=True)
    shutil.copy(kept, folder / "again" / "checkpoints")
    vidcore(folder, "run", "task.toml", "--dir", "again", "--resume")
    end, again = (load(max((run / "checkpoints").glob("epoch0010*.pt"))) for run in (whole, folder / "again"))
    for part in ("state_dict", "training_weights"):
        assert "positives" in end[part]
        assert all(torch.equal(value, again[part][key]) for key, value in end[part].items())
    assert not torch.equal(end["training_weights"]["positives"], load(kept)["training_weights"]["positives"])
    assert (whole / "results.json").read_text() == (folder / "again" / "results.json").read_text()


def test_the_recipe_without_classes_takes_them_from_the_whole_video(folder: Path, vidcore: Callable[..., str]) -> None:
    (folder / "published.toml").write_text(PUBLISHED)
    scores = {f"val{i}": [0.5, 0.25, 0.125] for i in range(6)}
    (folder / "classes.json").write_text(json.dumps({"class": CLASSES, "results": scores}))
    vidcore(folder, "run", "published.toml", "--dir", "published")
    found = read_results(folder / "published" / "results.json", CLASSES)["val0"]
    assert {detection.label for detection in found} == {"jump", "run"}  # the best two
    assert len(found) % 2 == 0
    best = {label: max(d.score for d in found if d.label == label) for label in ("jump", "run")}
    assert best["jump"] == pytest.approx(2 * best["run"])
    reached = json.loads((folder / "published" / "report.json").read_text())["scores"]
    assert reached["mAP@0.50"] > 0.15
