"""Training from a Task: PoseC3D on other 3D networks, and frames with skeletons."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vid_recognition.models.c3d import C3D
from vid_recognition.models.resnet3d import ResNet3dSlowOnly
from vid_recognition.models.x3d import X3D
from vidcore.config.toml import dumps
from vidcore.errors import UserError
from vidcore.video.synthetic import SIZE, write_video

C3D_SMALL = {"type": "C3D", "in_channels": 17, "out_dim": 512, "dropout_ratio": 0.0}
X3D_SMALL = {"type": "X3D", "in_channels": 17, "gamma_b": 2.25, "num_stages": 2, "spatial_strides": [1, 2]}
RUN: dict[str, Any] = {
    "train": {"epochs": 1, "val_interval": 1},
    "optimizer": {"type": "SGD", "lr": 0.01},
    "metrics": {"acc": {"type": "AccMetric", "topk": [1]}},
    "runtime": {"device": "cpu"},
}


@pytest.mark.parametrize(
    ("network", "size", "wanted"),
    [
        (C3D(17, out_dim=512), (16, 16, 16), (2, 4096)),
        (X3D(1.0, 2.25, in_channels=17, num_stages=2, spatial_strides=(1, 2)), (6, 16, 16), (2, 108, 6, 4, 4)),
        (ResNet3dSlowOnly(depth=18, in_channels=17, base_channels=8), (4, 32, 32), (2, 64, 4, 1, 1)),
    ],
    ids=["C3D", "X3D", "SlowOnly"],
)
def test_heatmaps_go_into_other_networks(network: torch.nn.Module, size: tuple[int, ...], wanted: Any) -> None:
    maps = torch.rand(2, 17, *size, generator=torch.Generator().manual_seed(0))
    features = network.train()(maps)
    assert features.shape == wanted
    features.square().mean().backward()
    first = next(network.parameters()).grad
    assert first is not None and first.shape[1] == 17 and (first.flatten(2).abs().sum((0, 2)) > 0).all()
    with pytest.raises(UserError, match=r"the backbone takes 17 channels \(in_channels\), and got 3: colours"):
        network(maps[:, :3])


def test_clips_that_are_too_small_for_c3d_are_refused() -> None:
    with pytest.raises(UserError, match=r"at least 16 frames of 16 x 16 pixels.* got 12 frames of 20 x 24"):
        C3D(17)(torch.rand(1, 17, 12, 20, 24))


@pytest.mark.parametrize(
    ("backbone", "head", "clip"),
    [
        (C3D_SMALL, {"type": "I3DHead", "in_channels": 4096}, 16),
        (X3D_SMALL, {"type": "X3DHead", "in_channels": 108, "hidden": 32}, 6),
    ],
    ids=["C3D", "X3D"],
)
def test_posec3d_trains_with_other_networks(
    backbone: dict[str, Any], head: dict[str, Any], clip: int, tmp_path: Path, vidcore: Callable[..., str]
) -> None:
    vidcore(tmp_path, "demo", "skeleton", "demo", "--videos-per-class", "2")
    steps = {
        "sample": {"type": "UniformSampleFrames", "clip_len": clip},
        "decode": {"type": "PoseDecode"},
        "compact": {"type": "PoseCompact", "hw_ratio": 1.0, "allow_imgpad": True},
        "resize": {"type": "Resize", "scale": [16, 16], "keep_ratio": False},
        "heatmaps": {"type": "GeneratePoseTarget"},
        "format": {"type": "FormatShape", "input_format": "NCTHW_Heatmap"},
    }
    dataset = {"type": "PoseDataset", "ann_file": "demo/skeletons.npz"}
    table = {
        "model": {"type": "Recognizer3D", "backbone": backbone, "cls_head": {**head, "num_classes": 3}},
        "data": {
            "classes": "demo/classes.txt",
            "all": {"batch_size": 3, "workers": 0, "dataset": dataset, "pipeline": steps},
            "train": {"dataset": {"split": "train"}},
            "val": {"dataset": {"split": "val"}, "pipeline": {"sample": {"test_mode": True}}},
        },
        **RUN,
    }
    (tmp_path / "task.toml").write_text(dumps(table))
    vidcore(tmp_path, "run", "task.toml")
    assert set(json.loads((tmp_path / "runs/task/report.json").read_text())["scores"]) >= {"acc/top1"}


def test_frames_and_skeletons_train_together(tmp_path: Path, vidcore: Callable[..., str]) -> None:
    """Two videos of 16 frames, one per class; their published annotations name them without a suffix."""
    rng, frames, size = np.random.default_rng(0), 16, (SIZE, SIZE)
    records = []
    (tmp_path / "videos").mkdir()
    for label, name in enumerate(("left", "right")):
        picture = np.zeros((frames, *size, 3), np.uint8)
        points = rng.uniform(0, 12, (1, frames, 17, 2)).astype(np.float16) + 16
        points[..., 0] += 20 * label
        for t in range(frames):
            left, top = points[0, t].min(0).astype(int)
            right, low = points[0, t].max(0).astype(int)
            picture[t, top : low + 1, left : right + 1] = 200
        write_video(tmp_path / f"videos/{name}.mp4", picture)
        records.append(
            {
                "frame_dir": name,
                "label": label,
                "total_frames": frames,
                "img_shape": size,
                "keypoint": points,
                "keypoint_score": np.ones(points.shape[:3], np.float16),
            }
        )
    splits = {"xsub_train": ["left", "right"], "xsub_val": ["left", "right"]}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"split": splits, "annotations": records}))
    recipe = {
        "extends": "rgbpose_conv3d",
        "model": {
            "backbone": {
                "rgb_pathway": {"base_channels": 8},
                "pose_pathway": {"base_channels": 4, "stage_blocks": [1, 1, 1]},
            },
            "cls_head": {"in_channels": [256, 64], "num_classes": 2},
        },
        "data": {
            "all": {
                "batch_size": 2,
                "workers": 0,
                "dataset": {"ann_file": "a.pkl", "data_root": "videos"},
                "pipeline": {"sample": {"clip_len": {"RGB": 2, "Pose": 8}}, "resize": {"scale": [64, 64]}},
            },
            "train": {"pipeline": {"resize_2": {"scale": [32, 32]}}},
            "val": {"pipeline": {"resize": {"scale": [32, 32]}}},
            "test": {"pipeline": {"sample": {"num_clips": 2}, "resize": {"scale": [32, 32]}}},
        },
        "train": {
            "epochs": 12,
            "weights": {"_replace_": True, "backbone.rgb_path": "rgb.pth"},
            "base_batch_size": 2,
            "val_interval": 12,
        },
        "optimizer": {"lr": 0.01},
        "runtime": {"device": "cpu"},
    }
    (tmp_path / "task.toml").write_text(dumps(recipe))
    torch.save(ResNet3dSlowOnly(base_channels=8).state_dict(), tmp_path / "rgb.pth")
    said = vidcore(tmp_path, "run", "task.toml")
    assert "backbone.rgb_path.layer3.0.conv1.conv.weight has 64 of its 80 input channels from the file" in said
    rows = [json.loads(line) for line in (tmp_path / "runs/task/metrics.jsonl").read_text().splitlines()]
    first, *_, last = (row for row in rows if row["kind"] == "epoch")
    assert all(last[f"{name}_loss_cls"] < first[f"{name}_loss_cls"] for name in ("rgb", "pose"))
    scores = json.loads((tmp_path / "runs/task/report.json").read_text())["scores"]
    assert {"acc/rgb_top1", "acc/pose_top1", "acc/RGBPose_1:1_top1"} <= set(scores)
