"""SSN from folders of frames to scores with `vidcore run`, with an image network of a different package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

BACKBONE = """
from torch import Tensor, nn


class Colours(nn.Module):
    def __init__(self, channels: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv((x - 128) / 64).relu()
"""
PLUGIN = """
from vidcore.plugins.hooks import hookimpl


@hookimpl
def vidcore_components() -> dict[str, dict[str, str]]:
    return {"models": {"Colours": "tiny_backbone:Colours"}}
"""
STEPS = """
[data.{part}.pipeline.decode]
type = "Decode"

[data.{part}.pipeline.resize]
type = "Resize"
scale = [16, 16]
keep_ratio = false

[data.{part}.pipeline.format]
type = "FormatShape"
input_format = "NCHW"
"""
TASK = (
    """
[model]
type = "SSN"
dropout_ratio = 0.0
reg_normalize_constants = [[0.0, 0.0], [0.2, 0.2]]

[model.backbone]
type = "Colours"
channels = 8

[model.cls_head]
type = "SSNHead"
dropout_ratio = 0.0
in_channels = 8
num_classes = 2
stpp_stage = [[1], [1, 2], [1]]
init_std = 0.1

[data]
classes = "classes.txt"

[data.train]
batch_size = 4
workers = 0

[data.train.dataset]
type = "SSNDataset"
ann_file = "train.txt"
data_root = "frames"
filter_gt = true

[data.train.pipeline.open]
type = "OpenVideo"

[data.train.pipeline.proposals]
type = "SampleProposals"

[data.train.pipeline.sample]
type = "SampleProposalFrames"

[data.val]
batch_size = 2
workers = 0

[data.val.dataset]
type = "SSNDataset"
ann_file = "val.txt"
data_root = "frames"

[data.val.pipeline.open]
type = "OpenVideo"

[data.val.pipeline.sample]
type = "SampleProposalFrames"
test_mode = true
test_interval = 2

[train]
epochs = 30
val_interval = 30

[optimizer]
type = "Adam"
lr = 0.02

[metrics.thumos]
type = "THUMOSMetric"

[runtime]
device = "cpu"
"""
    + STEPS.format(part="train")
    + STEPS.format(part="val")
)


def write_video(folder: Path, rng: np.random.Generator) -> str:
    """Noise with a red or a blue segment, and the block of the proposal list."""
    frames = int(rng.integers(60, 90))
    length, label = int(rng.integers(16, 30)), int(rng.integers(2))
    start = int(rng.integers(12, frames - length - 10))
    folder.mkdir(parents=True)
    for i in range(frames):
        image = rng.integers(60, 120, (16, 16, 3), np.uint8)
        if start <= i < start + length:
            image[..., 2 * label] += 110
        cv2.imwrite(str(folder / f"img_{i + 1:05}.jpg"), image)
    spans = []
    for _ in range(12):
        a, b = sorted(rng.uniform(0, frames, 2))
        spans.append((a, max(b, a + 3)))
    for _ in range(4):
        spans.append((start + rng.uniform(-2, 2), start + length + rng.uniform(-2, 2)))
    for _ in range(4):
        a = start + rng.uniform(0, length * 0.7)
        spans.append((a, a + length * 0.25))
    rows = [f"{label + 1} 0.0 0.0 {a:.0f} {b:.0f}" for a, b in spans]
    head = [folder.name, str(frames), "1", "1", f"{label + 1} {start} {start + length}", str(len(rows))]
    return "\n".join([*head, *rows]) + "\n"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, vidcore: Callable[..., str]) -> dict[str, float]:
    folder = tmp_path_factory.mktemp("ssn")
    rng = np.random.default_rng(0)
    for part, number in (("train", 16), ("val", 6)):
        blocks = [f"# {i}\n" + write_video(folder / "frames" / f"{part}{i}", rng) for i in range(number)]
        (folder / f"{part}.txt").write_text("".join(blocks))
    (folder / "classes.txt").write_text("blue\nred\n")
    (folder / "task.toml").write_text(TASK)
    site = folder / "site"
    (site / "tiny_backbone-1.0.dist-info").mkdir(parents=True)
    (site / "tiny_backbone-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tiny-backbone\nVersion: 1.0\n"
    )
    (site / "tiny_backbone-1.0.dist-info" / "entry_points.txt").write_text("[vidcore]\ntiny = tiny_plugin\n")
    (site / "tiny_backbone.py").write_text(BACKBONE)
    (site / "tiny_plugin.py").write_text(PLUGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        vidcore(folder, "run", "task.toml", "--dir", "out")
    scores: dict[str, float] = json.loads((folder / "out" / "report.json").read_text())["scores"]
    return scores


def test_it_detects_the_complete_proposals_of_each_class(report: dict[str, float]) -> None:
    assert report["mAP@0.50"] > 0.8
    assert report["average_mAP"] > 0.6
