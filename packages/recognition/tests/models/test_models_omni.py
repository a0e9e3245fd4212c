"""OmniSource: one network for clips and images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from vid_recognition.demo import render_video
from vid_recognition.models.omni import OmniHead, OmniResNet, RecognizerOmni
from vid_recognition.models.preprocessor import ActionDataPreprocessor
from vidcore.batch import collate
from vidcore.plugins.catalog import load_plugins
from vidcore.sample import Sample
from vidcore.task.task import Task
from vidcore.task.train import train
from vidcore.video.synthetic import write_video


def recognizer() -> RecognizerOmni:
    torch.manual_seed(0)
    head = OmniHead(image_classes=2, video_classes=3, in_channels=1024)
    preprocessor = ActionDataPreprocessor([120] * 3, [60] * 3, format_shape="MIX2d3d")
    return RecognizerOmni(OmniResNet((1, 1, 1)), head, preprocessor).eval()


def test_image_is_a_still_video() -> None:
    backbone = recognizer().backbone
    image = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        still = backbone(image.unsqueeze(2).expand(-1, -1, 9, -1, -1))
        torch.testing.assert_close(backbone(image), still[:, :, 4], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "views", "classes"), [((3, 32, 32), 1, 2), ((3, 4, 32, 32), 1, 3), ((2, 3, 4, 32, 32), 2, 3)]
)
def test_clips_and_images_have_separate_classifiers(shape: tuple[int, ...], views: int, classes: int) -> None:
    model = recognizer()
    rng = np.random.default_rng(0)
    samples = [Sample(inputs={"imgs": rng.integers(0, 256, shape, np.uint8)}, label=i) for i in range(2)]
    batch = model.preprocess(collate(samples))
    scores = model(batch.inputs)
    assert scores.shape == (2, views, classes)
    model.loss(scores, batch)["loss_cls"].backward()
    other = model.cls_head.get_submodule("fc3d" if classes == 2 else "fc2d")
    assert all(p.grad is None for p in other.parameters())
    found = model.predict(scores, batch)
    assert found[0].scores is not None
    assert found[0].scores.sum() == pytest.approx(1)


def test_linear_classifier_of_clips() -> None:
    head = OmniHead(2, 3, 8, video_nl_head=False)
    assert [k for k in head.state_dict() if k.startswith("fc3d")] == ["fc3d.3.weight", "fc3d.3.bias"]


def test_clips_and_images_train_together_in_a_task(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part, count in (("clips", 4), ("images", 6)):
        (tmp_path / part).mkdir()
        for i in range(count):
            cv2.imwrite(str(tmp_path / part / f"{i}.png"), rng.integers(0, 256, (40, 48, 3), np.uint8))
        (tmp_path / f"{part}.txt").write_text("".join(f"{i}.png {i % 2}\n" for i in range(count)))

    def data(part: str, shape: dict[str, Any], **loading: Any) -> dict[str, Any]:
        dataset = {"type": "VideoDataset", "ann_file": str(tmp_path / f"{part}.txt"), "data_root": str(tmp_path / part)}
        steps = {"decode": {"type": "Decode"}, "crop": {"type": "CenterCrop", "crop_size": 32}, **shape}
        return {"dataset": dataset, "pipeline": steps, **loading}

    clip = {"repeat": {"type": "BuildPseudoClip", "clip_len": 4}, "format": _format("NCTHW")}
    image_format = {"format": _format("NCHW", collapse=True)}
    head = {"type": "OmniHead", "image_classes": 2, "video_classes": 2, "in_channels": 1024}
    table = {
        "model": {
            "type": "RecognizerOmni",
            "backbone": {"type": "OmniResNet", "layers": [1, 1, 1]},
            "cls_head": head,
            "data_preprocessor": {"type": "ActionDataPreprocessor", "format_shape": "MIX2d3d"},
        },
        "data": {
            "train": data("clips", clip, batch_size=2),
            "train_extra": {"images": data("images", image_format, batch_size=3)},
        },
        "optimizer": {"type": "SGD", "lr": 0.01},
        "train": {"epochs": 2, "log_interval": 1},
        "runtime": {"device": "cpu"},
    }
    train(Task.from_table(table, load_plugins()), tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    assert len(steps) == 4
    for line in steps:
        assert line["loss"] == pytest.approx(line["loss_cls"] + line["images/loss_cls"], rel=1e-5)


def test_the_recipe_trains_on_clips_images_and_long_videos(tmp_path: Path) -> None:
    for name in ("clips/a", "clips/b", "long/c/part_0", "long/c/part_1", "long/d/part_0"):
        file = tmp_path / f"{name}.mp4"
        file.parent.mkdir(parents=True, exist_ok=True)
        write_video(file, render_video("left" if name[-1] == "a" else "right", 0, 0))
    for number in range(4):
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), np.full((40, 48, 3), 60 * number, np.uint8))
    (tmp_path / "clips.txt").write_text("a.mp4 0\nb.mp4 1\n")
    (tmp_path / "images.txt").write_text("".join(f"{i}.png {i}\n" for i in range(4)))
    (tmp_path / "long.txt").write_text("c 0 2 0 1\nd 1 1 0\n")
    lines = [
        "extends = ['slowonly_r50_8xb16-8x8x1-256e_imagenet-kinetics400-rgb']",
        "runtime.device = 'cpu'",
        "model.backbone.layers = [1, 1, 1, 1]",
        "model.cls_head.video_classes = 2",
        "model.cls_head.image_classes = 4",
        "train = { epochs = 1, log_interval = 1, val_interval = 1 }",
        "data.test = false",
        "data.train.pipeline.resize.scale = [-1, 40]",
        "data.train.pipeline.resize_2.scale = [32, 32]",
        "data.val.pipeline.crop.crop_size = 32",
        "data.train_extra.images.pipeline.resize.scale = [32, 32]",
        "data.train_extra.images.dataset.num_classes = 4",
    ]
    for part, kind in (("train", "clips"), ("val", "clips"), ("train_extra.images", "images")):
        lines += [f"data.{part}.dataset.ann_file = '{kind}.txt'", f"data.{part}.dataset.data_root = '{kind}'"]
        lines += [f"data.{part}.workers = 0", f"data.{part}.batch_size = {4 if kind == 'images' else 2}"]
        if kind == "clips":
            lines += [f"data.{part}.pipeline.sample.clip_len = 2", f"data.{part}.pipeline.sample.frame_interval = 1"]
    lines += [
        "[data.train_extra.long]",
        "batch_size = 2",
        "dataset = { type = 'RawVideoDataset', ann_file = 'long.txt', data_root = 'long', num_classes = 2 }",
        "[data.train_extra.long.pipeline]",
        "pick = { type = 'PickClip' }",
        "open = { type = 'OpenVideo' }",
        "sample = { type = 'SampleFrames', clip_len = 2 }",
        "decode = { type = 'Decode' }",
        "resize = { type = 'Resize', scale = [32, 32], keep_ratio = false }",
        "format = { type = 'FormatShape', input_format = 'NCTHW' }",
    ]
    (tmp_path / "omni.toml").write_text("\n".join(lines))
    report = train(Task.load(tmp_path / "omni.toml", load_plugins()), tmp_path / "run")
    assert report["scores"].keys() == {"acc/top1", "acc/top5", "acc/mean1"}
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    (step,) = [row for row in rows if row["kind"] == "step"]
    parts = [step[f"{name}loss_cls"] for name in ("", "images/", "long/")]
    assert step["loss"] == pytest.approx(sum(parts), rel=1e-5)


def _format(layout: str, **options: Any) -> dict[str, Any]:
    return {"type": "FormatShape", "input_format": layout, **options}


def test_extra_data_get_the_classes_of_a_model_with_one_classifier(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("run\nsit\n")
    dataset = {"type": "VideoDataset", "ann_file": str(tmp_path / "list.csv")}
    head: dict[str, Any] = {"type": "TSNHead", "num_classes": 2, "in_channels": 512}
    backbone: dict[str, Any] = {"type": "ResNet", "depth": 18}

    def shared(model: dict[str, Any], **data: Any) -> dict[str, Any]:
        extra = {"more": {"dataset": dataset}, "own": {"dataset": {**dataset, "num_classes": 5}}}
        table = {"model": model, "data": {"train": {"dataset": dataset}, "train_extra": extra, **data}}
        parts = Task.from_table(table, load_plugins()).table["data"]["train_extra"]
        assert parts["own"]["dataset"] == extra["own"]["dataset"], "what a dataset sets itself stays"
        return {key: value for key, value in parts["more"]["dataset"].items() if key not in dataset}

    one = {"type": "Recognizer2D", "backbone": backbone, "cls_head": head}
    assert shared(one) == {"num_classes": 2}
    assert shared(one, classes=str(tmp_path / "names.txt")) == {"classes": str(tmp_path / "names.txt")}
    omni = {"type": "OmniHead", "image_classes": 3, "video_classes": 2, "in_channels": 1024}
    two = {"type": "RecognizerOmni", "backbone": {"type": "OmniResNet"}, "cls_head": omni}
    assert shared(two, classes=str(tmp_path / "names.txt")) == {}
