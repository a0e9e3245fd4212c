"""Distillation: the loss of relations, a teacher that stays as it is, and the published recipes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vid_recognition.models.distillation import Distillation, correlation_distance, relation_loss
from vid_recognition.models.heads import TSMHead, TSNHead
from vid_recognition.models.recognizers import Recognizer2D
from vid_recognition.models.resnet import ResNet
from vidcore.batch import Batch
from vidcore.plugins.catalog import load_plugins
from vidcore.sample import Sample
from vidcore.task.task import Task


def recognizer(classes: int = 5, **head: Any) -> Recognizer2D:
    return Recognizer2D(ResNet(18), TSNHead(classes, 512, **head))


def batch(count: int = 3) -> Batch:
    inputs = torch.rand(count, 2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Batch(inputs=inputs, labels=torch.arange(count), samples=[Sample(path="a.mp4")] * count)


def test_distance_is_that_of_numpys_correlation() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 4, 6))
    expected = np.mean([1 - np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])
    found = correlation_distance(torch.tensor(a), torch.tensor(b))
    assert float(found) == pytest.approx(expected, abs=1e-12)


def test_loss_compares_rows_and_classes() -> None:
    ours, theirs = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
    a, b = (ours / 2).softmax(1), (theirs / 2).softmax(1)
    expected = 4 * (3 * correlation_distance(a, b) + 5 * correlation_distance(a.T, b.T))
    assert torch.allclose(relation_loss(ours, theirs, 3, 5, temperature=2), expected)
    assert relation_loss(theirs, theirs) < 1e-5
    assert relation_loss(theirs + 7, theirs) < 1e-5, "a softmax ignores an offset"


def test_only_the_student_is_trained() -> None:
    torch.manual_seed(0)
    model = Distillation(recognizer(dropout_ratio=0.0), recognizer(dropout_ratio=0.9), loss_weight=2.0)
    before = {k: v.clone() for k, v in model.teacher.state_dict().items()}
    model.train()
    assert model.student.training and not model.teacher.training
    data = batch()
    outputs = model(data.inputs)
    losses = model.loss(outputs, data)
    assert losses.keys() == {*model.student.loss(outputs[0], data), "loss_dist"}
    scores, rows, taught = outputs
    assert (scores.shape, rows.shape, taught.shape) == ((3, 1, 5), (3, 2, 5), (3, 2, 5))
    assert torch.allclose(losses["loss_dist"], 2 * relation_loss(rows.flatten(0, 1), taught.flatten(0, 1)))
    sum(loss for name, loss in losses.items() if "loss" in name).backward()
    assert all(p.grad is not None for p in model.student.parameters())
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items()), "statistics stay, too"


def test_predictions_are_those_of_the_student() -> None:
    model, data = Distillation(recognizer(), recognizer()).eval(), batch()
    with torch.no_grad():
        ours = model.predict(model(data.inputs), data)
        theirs = model.student.predict(model.student(data.inputs), data)
    assert all(np.array_equal(a.scores, b.scores) for a, b in zip(ours, theirs, strict=True))
    assert model.clip_features(data.inputs).shape == (3, 512)
    assert model.clip_logits(data.inputs).shape == (3, 5)


def test_unlike_recognizers_are_refused() -> None:
    with pytest.raises(ValueError, match="must have the same classes, and have 5 and 4"):
        Distillation(recognizer(), recognizer(4))
    with pytest.raises(ValueError, match=r"teacher must be a .*Recognizer, got Linear"):
        Distillation(recognizer(), nn.Linear(1, 1))
    with pytest.raises(ValueError, match="temperature must be positive"):
        Distillation(recognizer(), recognizer(), temperature=0)


def test_frames_of_views_are_compared_before_their_mean() -> None:
    student = Recognizer2D(ResNet(18), TSMHead(5, 512, num_segments=2))
    scores, rows, _ = Distillation(student, recognizer())(torch.rand(1, 4, 3, 32, 32))
    assert (scores.shape, rows.shape) == ((1, 2, 5), (1, 4, 5))


RECIPES = {
    "kd_logits_tsm-res50_tsm-mobilenetv2_8xb16_k400": (
        "tsm_imagenet-pretrained-mobilenetv2_8xb16-1x1x8-100e_kinetics400-rgb",
        "tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb",
        1.0,
    ),
    "kd_logits_tsn-swin_tsn-r50_8xb16_k400": (
        "tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb",
        "tsn_imagenet-pretrained-swin-transformer_32xb8-1x1x8-50e_kinetics400-rgb",
        4.0,
    ),
}
"""Published distillations: recipes of student and teacher, and weight of the loss of relations."""


@pytest.mark.parametrize("name", RECIPES)
def test_published_distillations_join_two_recipes(name: str) -> None:
    catalog = load_plugins()
    student, teacher, weight = (Task.load(n, catalog) if isinstance(n, str) else n for n in RECIPES[name])
    task = Task.load(name, catalog)
    for part in ("data", "optimizer", "schedule", "param_groups", "metrics"):
        assert task.get(part) == student.get(part), part
    assert {k: v for k, v in task.table["train"].items() if k != "weights"} == {
        k: v for k, v in student.table["train"].items() if k != "weights"
    }
    with torch.device("meta"):
        model, ours, theirs = task.build("model"), student.build("model"), teacher.build("model")
    assert str(model.student) == str(ours)
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (model.student, ours, model.teacher, theirs)]
    assert shapes[0] == shapes[1] and shapes[2] == shapes[3]
    assert (model.loss_weight, model.inter_weight, model.intra_weight, model.temperature) == (weight, 1, 1, 1)
    trained = {id(p) for p in model.parameters() if p.requires_grad}
    assert trained == {id(p) for p in model.student.parameters()}
