"""HVU: tags of several categories, their masks, loss and metric."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vid_recognition.datasets.hvu import HVUDataset
from vid_recognition.metrics.tags import HVUMetric
from vid_recognition.models.heads import I3DHead
from vid_recognition.models.losses import HVULoss
from vid_recognition.models.recognizers import Recognizer3D
from vid_recognition.models.resnet3d import ResNet3dSlowOnly
from vid_recognition.records import TagCategories
from vid_recognition.transforms.hvu import LoadHVULabel
from vidcore.batch import collate
from vidcore.errors import AnnotationError, DataError, UserError
from vidcore.sample import Sample

ENTRIES: list[Any] = [
    {"filename": "a.mp4", "label": {"action": [0, 2], "scene": [1]}},
    {"frame_dir": "b", "total_frames": 61, "label": {"scene": []}},
    {"filename": "c.mp4", "label": {"object": [5]}},
]
CATEGORIES = (["action", "scene"], [3, 2])


def dataset(folder: Path, entries: Any = ENTRIES, **options: Any) -> HVUDataset:
    (folder / "tags.json").write_text(json.dumps(entries))
    return HVUDataset(folder / "tags.json", Path("videos"), *CATEGORIES, **options)


def test_tags_of_all_categories(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    assert len(data) == 2 and data.num_classes == 5
    assert data.notes() == (f"1 of 3 entries without tags of action, scene are left out: {tmp_path}/tags.json",)
    assert data[0].path == "videos/a.mp4" and data[0].total_frames is None
    assert data[0].labels is not None and data[0].labels.tolist() == [1, 0, 1, 0, 1]
    assert data[1].total_frames == 61 and data[1].labels is not None and not data[1].labels.any()
    step, rng = LoadHVULabel(), np.random.default_rng(0)
    assert step(data[1], rng).targets["mask"].tolist() == [0, 0, 0, 1, 1]
    assert step(data[1], rng).targets["category_mask"].tolist() == [0, 1]
    video = Sample(path="new.mp4")
    assert step(video, rng) is video
    (last,) = dataset(tmp_path, indices=[1])
    assert isinstance(tags := last.extra["tags"], TagCategories) and tags.annotated.tolist() == [False, True]
    assert dataset(tmp_path).fingerprint() == data.fingerprint() != dataset(tmp_path, indices=1).fingerprint()


def test_names_of_tags(tmp_path: Path) -> None:
    (tmp_path / "names.json").write_text('{"scene": ["sea", "wood"], "action": ["run", "sit", "eat"]}')
    data = dataset(tmp_path, tags=tmp_path / "names.json")
    assert data.class_names == ("action: run", "action: sit", "action: eat", "scene: sea", "scene: wood")
    (tmp_path / "names.json").write_text('{"action": ["run"]}')
    with pytest.raises(AnnotationError, match=r"names.json: scene: must be a list of names of tags, got None"):
        dataset(tmp_path, tags=tmp_path / "names.json")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"filename": "a.mp4", "label": {"action": [3]}}, r"entry 0: label.action must be a whole number from 0 to 2"),
        ({"filename": "a.mp4", "label": {"action": 1}}, r"entry 0: label.action must be a list of numbers, got 1"),
        ({"filename": "a.mp4", "label": [1]}, r"entry 0: label must be an object of categories, got \[1\]"),
        ({"label": {"action": [1]}}, r"entry 0: filename or frame_dir must be a string, got None"),
        ({"frame_dir": "a", "label": {"scene": [1]}}, r"entry 0: total_frames: None is not a number"),
        ("a.mp4", r"entry 0: must be an object, got a.mp4"),
    ],
)
def test_wrong_entries(tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        dataset(tmp_path, [entry])


def test_files_without_tags(tmp_path: Path) -> None:
    for entries in ([], {}, [{"filename": "a.mp4", "label": {"object": [1]}}]):
        with pytest.raises(DataError, match="has no entr"):
            dataset(tmp_path, entries)
    (tmp_path / "tags.json").write_text("[{]")
    with pytest.raises(AnnotationError, match=r"tags.json:1: not JSON"):
        HVUDataset(tmp_path / "tags.json")


def test_the_loss_ignores_what_is_not_annotated(tmp_path: Path) -> None:
    data = dataset(tmp_path)
    rng = np.random.default_rng(0)
    clip = rng.integers(0, 256, (1, 3, 2, 16, 16), np.uint8)
    batch = collate([LoadHVULabel()(data[i], rng).with_inputs(imgs=np.repeat(clip, 2, 0)) for i in range(2)])
    loss = HVULoss(*CATEGORIES, loss_type="individual", with_mask=True)
    torch.manual_seed(0)
    head = I3DHead(num_classes=5, in_channels=256, loss_cls=loss, multi_class=True)
    model = Recognizer3D(ResNet3dSlowOnly(base_channels=8), head)
    outputs = model(model.preprocess(batch).inputs)
    assert outputs.shape == (2, 2, 5)  # of two views, which share the masks
    values = model.loss(outputs, batch)
    assert set(values) == {"loss_cls", "action_LOSS", "action_LOSS_weight", "scene_LOSS", "scene_LOSS_weight"}
    (gradient,) = torch.autograd.grad(values["loss_cls"], outputs)
    assert not gradient[1, :, :3].any() and gradient[1, :, 3:].all() and gradient[0].all()
    with pytest.raises(UserError, match="needs the target 'category_mask': end the pipeline with LoadHVULabel"):
        model.loss(outputs, batch.replace(targets={}))


def test_average_precision_of_each_category(tmp_path: Path) -> None:
    labels = np.array([[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [1, 0, 0, 0, 0]], np.float32)
    annotated = [[True, True], [True, False], [False, True]]
    scores = np.array([[0.1, 0.2, 0, 0.9, 0], [0.3, 0.8, 0, 0, 0.9], [0.9, 0, 0, 0.95, 0]], np.float32)
    targets = [
        Sample(
            index=i,
            labels=labels[i],
            extra={"tags": TagCategories(np.array([3, 2]), np.array(row), ("action", "scene"))},
        )
        for i, row in enumerate(annotated)
    ]
    metric, empty = HVUMetric(), HVUMetric()
    metric.update([t.replace(scores=s) for t, s in zip(targets, scores, strict=True)], targets)
    empty.merge([metric])  # a rank without samples
    # action: samples 0 and 1; scene: samples 0 and 2
    assert empty.compute() == {"hvu/action_mAP": 0.75, "hvu/scene_mAP": 0.5, "hvu/mAP": 0.625}
    with pytest.raises(DataError, match="samples with tags by category: see HVUDataset"):
        metric.update([targets[0].replace(scores=scores[0])], [targets[0].replace(extra={})])
