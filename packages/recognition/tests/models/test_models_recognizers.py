"""Recognizers and heads: views, averaging, losses, predictions."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vid_recognition.models.averaging import average_clips
from vid_recognition.models.blending import CutmixBlending, MixupBlending
from vid_recognition.models.heads import ClassificationHead, I3DHead, SlowFastHead, TPNHead, TSMHead, TSNHead
from vid_recognition.models.losses import CBFocalLoss, CrossEntropyLoss
from vid_recognition.models.mvit import MViT, MViTSize
from vid_recognition.models.preprocessor import ActionDataPreprocessor
from vid_recognition.models.recognizers import Recognizer2D, Recognizer3D
from vid_recognition.models.resnet import ResNet
from vid_recognition.models.resnet3d import ResNet3d
from vid_recognition.models.resnet_tsm import ResNetTSM
from vid_recognition.models.slowfast import FastPathway, ResNet3dSlowFast, SlowPathway
from vid_recognition.models.tpn import TPN
from vid_recognition.models.trn import MultiScaleRelation, TRNHead
from vidcore.batch import Batch
from vidcore.errors import UserError
from vidcore.sample import Sample


def batch_of(inputs: Tensor, labels: Tensor | None = None) -> Batch:
    samples = tuple(Sample(index=i, label=i, class_names=("a", "b", "c")) for i in range(len(inputs)))
    return Batch(inputs=inputs, labels=torch.arange(len(inputs)) if labels is None else labels, samples=samples)


def on_frames(**head: Any) -> Recognizer2D:
    torch.manual_seed(0)
    backbone = ResNet(18, num_stages=1, out_indices=(0,))
    return Recognizer2D(backbone, TSNHead(3, 64, init_std=1.0, **head), ActionDataPreprocessor([120] * 3, [60] * 3))


def on_clips(max_testing_views: int | None = None, **head: Any) -> Recognizer3D:
    torch.manual_seed(0)
    backbone = ResNet3d(18, base_channels=4, num_stages=1, out_indices=(0,), zero_init_residual=False)
    return Recognizer3D(backbone, I3DHead(3, 4, init_std=1.0, **head), max_testing_views=max_testing_views)


def test_frames_to_probabilities() -> None:
    model = on_frames().eval()
    batch = model.preprocess(batch_of(torch.randint(0, 256, (2, 5, 3, 32, 32), dtype=torch.uint8)))
    scores = model(batch.inputs)
    assert scores.shape == (2, 1, 3)  # the consensus of five frames
    found = model.predict(scores, batch)
    assert [s.class_names for s in found] == [("a", "b", "c")] * 2
    for sample in found:
        assert sample.scores is not None
        assert sample.scores.dtype == np.float32
        assert sample.scores.sum() == pytest.approx(1)


def test_clip_features_are_the_input_of_the_classifier() -> None:
    for model, inputs in (
        (on_frames(dropout_ratio=0.0), torch.rand(2, 5, 3, 32, 32)),
        (on_clips(dropout_ratio=0.0), torch.rand(2, 4, 3, 4, 32, 32)),
        (on_clips(max_testing_views=3, dropout_ratio=0.0), torch.rand(2, 4, 3, 4, 32, 32)),
    ):
        found = model.eval().clip_features(inputs)
        assert found.ndim == 2
        # the classifier is linear, so it does not matter whether views are averaged before or after it
        torch.testing.assert_close(model.cls_head.fc_cls(found), model(inputs).mean(1))
    small: dict[str, Any] = {"depth": 18, "stage_blocks": (1, 1, 1, 1)}
    backbone = ResNet3dSlowFast(4, 2, SlowPathway(**small, base_channels=8), FastPathway(**small, base_channels=2))
    slowfast, inputs = Recognizer3D(backbone, SlowFastHead(3, 80)).eval(), torch.rand(2, 1, 3, 8, 32, 32)
    slow, fast = slowfast.extract_features(inputs)
    pooled = torch.cat((slow.mean((2, 3, 4)), fast.mean((2, 3, 4))), 1)
    torch.testing.assert_close(slowfast.clip_features(inputs), pooled)


def test_consensus_is_the_mean_of_the_scores() -> None:
    head = TSNHead(3, 4, dropout_ratio=0.0, init_std=1.0)
    features = torch.rand(6, 4, 2, 2)
    expected = head.classify(features).view(2, 3, 3).mean(1)
    torch.testing.assert_close(head(features, batch_size=2)[:, 0], expected)


def test_segments_make_views() -> None:
    head = TSMHead(3, 4, num_segments=2)
    assert head(torch.rand(12, 4, 2, 2), batch_size=2).shape == (2, 3, 3)
    assert TSMHead(3, 4, num_segments=4, temporal_pool=True)(torch.rand(12, 4), 2).shape == (2, 3, 3)
    with pytest.raises(UserError, match="3 frames per sample do not divide into views of 2 segments"):
        head(torch.rand(6, 4, 2, 2), batch_size=2)


def test_temporal_shift_does_not_mix_views() -> None:
    torch.manual_seed(0)
    backbone = ResNetTSM(18, num_segments=2, num_stages=1, out_indices=(0,))
    model = Recognizer2D(backbone, TSMHead(3, 64, num_segments=2, init_std=1.0)).eval()
    x = torch.rand(2, 6, 3, 32, 32)
    with torch.no_grad():
        together = model(x)
        alone = model(x[:, 2:4])
    assert together.shape == (2, 3, 3)
    torch.testing.assert_close(together[:, 1:2], alone)


def test_views_in_chunks_give_the_same() -> None:
    x = torch.rand(2, 5, 3, 4, 32, 32)
    whole, chunked = on_clips().eval(), on_clips(max_testing_views=3).eval()
    seen: list[int] = []
    chunked.backbone.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    with torch.no_grad():
        torch.testing.assert_close(chunked(x), whole(x))
        assert seen == [3, 3, 3, 1]
        chunked.train()(x)
    assert seen[4:] == [10]


def test_views_in_chunks_of_two_pathways() -> None:
    torch.manual_seed(0)
    small: dict[str, Any] = {"depth": 18, "stage_blocks": (1, 1, 1, 1)}
    backbone = ResNet3dSlowFast(2, 2, SlowPathway(**small, base_channels=8), FastPathway(**small, base_channels=1))
    model = Recognizer3D(backbone, SlowFastHead(3, 72, init_std=1.0)).eval()
    x = torch.rand(1, 3, 3, 4, 32, 32)
    with torch.no_grad():
        expected = model(x)
        model.max_testing_views = 2
        torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("mode", ["prob", "score"])
def test_averages_of_views(mode: Any) -> None:
    model = on_clips(average_clips=mode)
    scores = torch.randn(2, 4, 3)
    each = scores.softmax(-1) if mode == "prob" else scores
    found = model.predict(scores, batch_of(torch.zeros(2, 1)))
    np.testing.assert_allclose(np.stack([s.scores for s in found]), each.mean(1), rtol=1e-5)


def test_scores_of_each_view() -> None:
    scores = torch.randn(1, 4, 3)
    (found,) = on_clips(average_clips="none").predict(scores, batch_of(torch.zeros(1, 1)))
    np.testing.assert_array_equal(found.extra["views"].values, scores[0])
    np.testing.assert_allclose(found.scores, scores[0].mean(0), rtol=1e-5)
    assert average_clips(scores[0], 2, "none").shape == (2, 2, 3)


def test_classes_that_are_not_mutually_exclusive() -> None:
    model = on_clips(multi_class=True)
    scores = torch.randn(2, 1, 3)
    found = model.predict(scores, batch_of(torch.zeros(2, 1)))
    np.testing.assert_allclose(np.stack([s.scores for s in found]), scores[:, 0].sigmoid(), rtol=1e-5)
    labels = torch.tensor([[1.0, 1, 0], [0, 0, 0]])
    losses = model.loss(scores, batch_of(torch.zeros(2, 1), labels))
    assert set(losses) == {"loss_cls"}
    expected = nn.functional.binary_cross_entropy(scores[:, 0].sigmoid(), labels)
    torch.testing.assert_close(losses["loss_cls"], expected)


def test_every_view_counts_in_the_loss() -> None:
    model = on_clips()
    scores = torch.randn(2, 4, 3)
    losses = model.loss(scores, batch_of(torch.zeros(2, 1), torch.tensor([2, 0])))
    expected = (-scores.log_softmax(-1)[0, :, 2] - scores.log_softmax(-1)[1, :, 0]).mean() / 2
    torch.testing.assert_close(losses["loss_cls"], expected)
    assert losses["top5_acc"] == 1  # of three classes


def test_accuracies_reported_with_the_loss() -> None:
    head = I3DHead(4, 2, topk=(1, 2))
    scores = torch.tensor([[4.0, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1], [4, 3, 2, 1]])
    losses = head.loss(scores, torch.tensor([0, 1, 2, 0]))
    assert (losses["top1_acc"], losses["top2_acc"]) == (0.5, 0.75)


def test_label_smoothing_spreads_the_label() -> None:
    scores, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0])
    smooth = ClassificationHead(4, 2, label_smooth_eps=0.2).loss(scores, labels)["loss_cls"]
    reference = nn.functional.cross_entropy(scores, labels, label_smoothing=0.2)
    torch.testing.assert_close(smooth, reference)
    soft = ClassificationHead(4, 2, label_smooth_eps=0.2).loss(scores, nn.functional.one_hot(labels, 4).float())
    torch.testing.assert_close(soft["loss_cls"], reference)


def test_training_steps_reduce_the_loss() -> None:
    model = on_clips(dropout_ratio=0.0).train()
    batch = batch_of(torch.rand(3, 1, 3, 4, 32, 32))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(4):
        loss = model.loss(model(batch.inputs), batch)["loss_cls"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_state_dict_has_published_keys_only() -> None:
    keys = on_frames().state_dict().keys()
    assert {k.partition(".")[0] for k in keys} == {"backbone", "cls_head"}
    assert {k for k in keys if k.startswith("cls_head")} == {"cls_head.fc_cls.weight", "cls_head.fc_cls.bias"}


def test_wrong_layout_is_refused() -> None:
    with pytest.raises(UserError, match=r"Recognizer3D needs inputs with the axes batch views .* got shape \(1, 3, 4"):
        on_clips()(torch.rand(1, 3, 4, 8, 8))


def test_labels_are_needed() -> None:
    batch = Batch(inputs=torch.rand(1, 1), samples=(Sample(),))
    with pytest.raises(UserError, match="needs a label"):
        on_clips().loss(torch.rand(1, 1, 3), batch)


def test_pickled_recognizer_predicts_the_same() -> None:
    model = on_clips().eval()
    x = torch.rand(1, 1, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_export_takes_any_number_of_samples() -> None:
    model = on_clips().eval()
    x = torch.rand(2, 2, 3, 4, 32, 32)
    exported = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("samples", min=2, max=8)},))
    more = torch.rand(3, 2, 3, 4, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(exported.module()(more), model(more))


@pytest.mark.parametrize(
    ("part", "shape"),
    [
        (lambda: MViT(MViTSize(8, 2, 1, (1,)), spatial_size=16, temporal_size=4), (3, 4, 16, 16)),
        (lambda: MultiScaleRelation(4, 5, 3), (5, 4)),
    ],
    ids=["MViT", "TRN"],
)
def test_parts_export_for_any_number_of_samples(part: Callable[[], torch.nn.Module], shape: tuple[int, ...]) -> None:
    network = part().eval()
    dynamic = ({0: torch.export.Dim("samples", min=1, max=8)},)
    exported = torch.export.export(network, (torch.rand(2, *shape),), dynamic_shapes=dynamic).module()
    more = torch.rand(3, *shape)
    with torch.no_grad():
        for found, wanted in zip(exported(more), network(more), strict=True):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: I3DHead(3, 4, loss_cls=CrossEntropyLoss(class_weight=[1.0, 2.0])),
            "weights for 2 classes, but num_.* is 3",
        ),
        (lambda: I3DHead(3, 4, loss_cls=CBFocalLoss([5, 6])), "weights for 2 classes, but num_classes is 3"),
        (lambda: CBFocalLoss([5, 0]), r"samples_per_cls must be positive, got \(5, 0\)"),
        (lambda: I3DHead(3, 4, label_smooth_eps=1.5), "label_smooth_eps must be at least 0 and below 1"),
        (lambda: ActionDataPreprocessor([0.0], [0.0]), "std must not be 0"),
        (lambda: MixupBlending(3, 0.0), "'alpha' must be > 0"),
        (
            lambda: Recognizer3D(
                ResNet3d(18, base_channels=4, num_stages=1, out_indices=(0,)),
                I3DHead(3, 4),
                ActionDataPreprocessor(blending=CutmixBlending(400)),
            ),
            "blending.num_classes is 400, but cls_head.num_classes is 3",
        ),
    ],
)
def test_options_that_do_not_match_are_refused(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("head", "labels", "message"),
    [
        (I3DHead(3, 4, multi_class=True), torch.tensor([0, 1]), "BCELossWithLogits needs multi-hot labels"),
        (I3DHead(3, 4, loss_cls=CBFocalLoss([5, 6, 7])), torch.eye(3)[:2], "CBFocalLoss needs one class number"),
        (I3DHead(3, 4), torch.eye(5)[:2], "labels have 5 classes, scores have 3: see cls_head.num_classes"),
    ],
)
def test_labels_of_the_wrong_kind_are_refused(head: I3DHead, labels: Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        head.loss(torch.zeros(2, 3), labels)


def test_relations_are_random_in_training_and_repeatable_in_evaluation() -> None:
    head = TRNHead(3, 4, num_segments=5, hidden_dim=6).train()
    assert isinstance(head.consensus, MultiScaleRelation)
    torch.manual_seed(0)
    drawn = [tuple(map(tuple, head.consensus.chosen())) for _ in range(20)]
    assert len(set(drawn)) > 1
    head.eval()
    chosen = head.consensus.chosen()
    assert chosen == head.consensus.chosen()
    assert chosen[0] == [(0, 1, 2, 3, 4)]
    assert chosen[-1] == [(0, 1), (1, 2), (3, 4)]
    assert head(torch.rand(10, 4, 2, 2), 1).shape == (1, 2, 3)
    with pytest.raises(UserError, match="7 frames per sample do not divide into views of 5 segments"):
        head(torch.rand(7, 4, 2, 2), 1)


@pytest.mark.parametrize("kind", [Recognizer2D, Recognizer3D])
def test_a_neck_joins_stages_and_its_auxiliary_scores_only_train(kind: type[Recognizer2D | Recognizer3D]) -> None:
    torch.manual_seed(0)
    options = {"num_stages": 2, "out_indices": (0, 1)}
    backbone = ResNetTSM(18, num_segments=4, **options) if kind is Recognizer2D else ResNet3d(18, **options)
    neck = TPN((64, 128), 32, 128, temporal_scales=(2, 2), fused_channels=64, num_classes=3)
    model = kind(backbone, TPNHead(3, 2048), neck=neck).train()
    shape = (2, 8, 3, 32, 32) if kind is Recognizer2D else (2, 2, 3, 4, 32, 32)
    batch = Batch(inputs=torch.rand(shape), labels=torch.tensor([0, 2]), samples=(Sample(), Sample()))
    scores, auxiliary = model(batch.inputs)
    assert (scores.shape, auxiliary.shape) == ((2, 2, 3), (4, 3))
    losses = model.loss((scores, auxiliary), batch)
    torch.testing.assert_close(
        losses["loss_aux"], 0.5 * torch.nn.functional.cross_entropy(auxiliary, torch.tensor([0, 0, 2, 2]))
    )
    (losses["loss_cls"] + losses["loss_aux"]).backward()
    assert neck.aux_head is not None
    assert neck.aux_head.fc.weight.grad is not None
    with torch.no_grad():
        assert model.eval()(batch.inputs).shape == (2, 2, 3)
        assert "loss_aux" not in model.loss(model(batch.inputs), batch)
    assert model.predict(model(batch.inputs), batch)[0].scores is not None
    with pytest.raises(UserError, match="the neck needs several stages of the backbone: see its out_indices"):
        kind(ResNetTSM(18) if kind is Recognizer2D else ResNet3d(18), TPNHead(3, 2048), neck=neck)(batch.inputs)
