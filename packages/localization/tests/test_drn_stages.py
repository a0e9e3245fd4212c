"""DRN's three stages in one command; each starts from the best weights of the one before."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vidcore.engine.checkpoint import load
from vidcore.plugins.catalog import load_plugins
from vidcore.task.stages import run_stages
from vidcore.task.task import Task

CHANNELS = 8
TABLES = {"duration": 20.0, "fps_dict": 25.0, "frames_info": 500}
TASK = """
extends = ["drn_2xb16-4096-10e_c3d-feature"]

[model]
vocab_size = 8
feature_dim = 8
hidden_dim = 8
embed_dim = 8
first_output_dim = 8
fpn_feature_dim = 8

[data.train]
batch_size = 4
workers = 0

[data.train.dataset]
ann_file = "train.txt"
word2id_file = "words.json"
fps_file = "fps_dict.json"
duration_file = "duration.json"
num_frames_file = "frames_info.json"
data_root = "features"
suffix = ".npy"

[data.val]
workers = 0

[data.val.dataset]
ann_file = "test.txt"
word2id_file = "words.json"
fps_file = "fps_dict.json"
duration_file = "duration.json"
num_frames_file = "frames_info.json"
data_root = "features"
suffix = ".npy"

[train]
epochs = 2

[runtime]
device = "cpu"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Videos with sentences, their features, and a Task of all three stages."""
    rng = np.random.default_rng(0)
    (tmp_path / "features").mkdir()
    (tmp_path / "task.toml").write_text(TASK)
    names = [f"V{i}" for i in range(10)]
    for name in names:
        np.save(tmp_path / "features" / f"{name}.npy", rng.normal(size=(62, CHANNELS)).astype(np.float32))
    for table, value in TABLES.items():
        (tmp_path / f"{table}.json").write_text(json.dumps(dict.fromkeys(names, value)))
    words = ["a", "person", "runs", "sits", "then"]
    (tmp_path / "words.json").write_text(json.dumps({word: i for i, word in enumerate(words, 1)}))
    lines = [f"{name} {i} {i + 8}##a person runs{' then sits' * (i % 3)}." for i, name in enumerate(names)]
    (tmp_path / "train.txt").write_text("\n".join(lines[:8]) + "\n")
    (tmp_path / "test.txt").write_text("\n".join(lines[8:]) + "\n")
    return tmp_path


def test_every_stage_starts_from_the_weights_of_the_one_before(folder: Path) -> None:
    overrides = [f"stages.{stage}.data.test=false" for stage in ("first", "second", "third")]
    task = Task.load(folder / "task.toml", load_plugins(), [*overrides, "stages.third.optimizer.lr=0.0"])
    report = run_stages(task, folder / "run")
    assert list(report["stages"]) == ["first", "second", "third"]
    assert set(report["scores"]) == {"Recall@Top1_IoU=0.5", "Recall@Top5_IoU=0.5"}
    first, second, third = (
        load(folder / "run" / stage / "checkpoints" / "best.pt")["state_dict"] for stage in task.stages
    )
    judged = {key for key in first if "mix_fc" in key or "iou_scores" in key}
    counted = {key for key in first if "running" in key or "num_batches" in key}
    same = {key for key in first if torch.equal(first[key], second[key])}
    assert same >= first.keys() - judged - counted, "the second stage trains only the quality branch"
    assert not same >= judged
    assert all(torch.equal(second[key], third[key]) for key in second.keys() - counted), "a rate of 0 changes nothing"
