"""Feature banks in one command: a detector is trained, a job writes its bank, and a second detector reads it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from vid_detection.bank_making import MakeFeatureBank
from vid_detection.banks import FeatureBank, write_bank
from vidcore.errors import UserError

SIZE, FPS, SECONDS = 48, 5, 5
TASK = """
[stages.detector]
[stages.detector.model.roi_head.bbox_head]
in_channels = 16

[stages.bank.job]
type = "MakeFeatureBank"
task = "{detector}/task.toml"
checkpoint = "{detector}/checkpoints/best.pt"
parts = ["train"]

[stages.lfb.model.roi_head.shared_head]
type = "FBOHead"
lfb_cfg = { bank = "{bank}", window_size = 4, max_num_sampled_feat = 2, lfb_channels = 16 }

[stages.lfb.model.roi_head.shared_head.fbo_cfg]
st_feat_channels = 16
latent_channels = 4

[stages.lfb.model.roi_head.bbox_head]
in_channels = 20

[model]
type = "FastRCNN"
backbone = { type = "ResNet3dSlowOnly", depth = 18, base_channels = 2, spatial_strides = [1, 2, 2, 1] }
data_preprocessor = { type = "ActionDataPreprocessor", mean = [0, 0, 0], std = [255, 255, 255], format_shape = "NCTHW" }

[model.roi_head]
type = "AVARoIHead"
bbox_roi_extractor = { type = "SingleRoIExtractor3D", output_size = 2 }
bbox_head = { type = "BBoxHeadAVA", num_classes = 80 }

[data.all]
batch_size = 4
workers = 0

[data.all.dataset]
type = "AVADataset"
ann_file = "ava.csv"
data_root = "videos"
proposal_file = "proposals.json"
timestamp_start = 0
timestamp_end = 5

[data.all.pipeline]
open = { type = "OpenVideo" }
sample = { type = "SampleAVAFrames", clip_len = 4, frame_interval = 1, test_mode = true }
decode = { type = "Decode" }
format = { type = "FormatShape", input_format = "NCTHW" }

[data.train]

[data.val]

[train]
epochs = 1

[optimizer]
type = "SGD"
lr = 0.01

[metrics.ava]
type = "AVAMetric"

[runtime]
device = "cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two videos of five seconds; somebody is in most of these, and in the second video at second 3 nobody."""
    folder = tmp_path_factory.mktemp("lfb")
    (folder / "videos").mkdir()
    rng = np.random.default_rng(0)
    rows, proposals = [], {}
    for name in ("one", "two"):
        writer = cv2.VideoWriter(str(folder / f"videos/{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (SIZE, SIZE))
        for _ in range(FPS * SECONDS):
            writer.write(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8))
        writer.release()
        for second in range(1, SECONDS):
            rows += [f"{name},{second:04d},0.1,0.1,0.5,0.9,{action},1" for action in (11, 79)]
            if (name, second) != ("two", 3):
                proposals[f"{name},{second:04d}"] = [[0.1, 0.1, 0.5, 0.9, 0.99], [0.5, 0.2, 0.9, 0.8, 0.95]]
    (folder / "ava.csv").write_text("\n".join(rows))
    (folder / "proposals.json").write_text(json.dumps(proposals))
    (folder / "task.toml").write_text(TASK)
    return folder


@pytest.fixture(scope="module")
def said(folder: Path, vidcore: Callable[..., str]) -> str:
    return vidcore(folder, "run", "task.toml", "--dir", "run")


def test_a_bank_is_made_by_a_stage_and_read_by_the_next(folder: Path, said: str) -> None:
    assert "14 boxes in 8 key frames, 1 of them without any" in said
    bank = FeatureBank.read(folder / "run/bank")
    assert bank.features.shape == (14, 16)
    assert bank.rows.keys() == {(name, second) for name in ("one", "two") for second in range(1, SECONDS)}
    assert not (folder / "run/bank/shares").exists()
    report = json.loads((folder / "run/report.json").read_text())
    assert report["stages"].keys() == {"detector", "lfb"}
    assert 0 <= report["stages"]["lfb"]["mAP"] <= 1


def test_an_interrupted_job_keeps_what_is_complete(folder: Path, said: str, tmp_path: Path) -> None:
    write_bank(tmp_path / "shares" / "train-1-of-1", [(("one", 1), np.ones((2, 16)))], 16)
    write_bank(tmp_path / "shares" / "val-1-of-1", [(("two", 1), np.zeros((1, 16)))], 16)
    MakeFeatureBank(folder / "run/detector/task.toml", Path("lost.pt"), precision="fp32")(tmp_path)
    bank = FeatureBank.read(tmp_path)
    assert bank.features.dtype == np.float32
    assert {key: features.sum() for key, features in bank} == {("one", 1): 32, ("two", 1): 0}


def test_a_detector_that_needs_a_bank_cannot_make_one(folder: Path, said: str, tmp_path: Path) -> None:
    last = folder / "run/lfb"
    job = MakeFeatureBank(last / "task.toml", last / "checkpoints/best.pt", ["val"])
    with pytest.raises(UserError, match="MakeFeatureBank needs a FastRCNN without shared_head"):
        job(tmp_path)
