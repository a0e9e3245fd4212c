"""Preprocessing and blending of batches, and losses."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

from vid_recognition.models.blending import CutmixBlending, MixupBlending, RandomBatchAugment, cutmix, mixup
from vid_recognition.models.losses import BCELossWithLogits, CBFocalLoss, CrossEntropyLoss
from vid_recognition.models.preprocessor import ActionDataPreprocessor, MultiModalDataPreprocessor
from vidcore.batch import Batch
from vidcore.errors import UserError

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


def frames(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("shape", "layout", "axis"),
    [((2, 4, 3, 5, 6), "NCHW", 2), ((2, 1, 3, 4, 5, 6), "NCTHW", 2), ((2, 3, 5, 6), "MIX2d3d", 1)],
)
def test_channels_are_normalised(shape: tuple[int, ...], layout: Any, axis: int) -> None:
    inputs = frames(*shape)
    kept = inputs.clone()
    out = ActionDataPreprocessor(MEAN, STD, format_shape=layout)(Batch(inputs=inputs)).inputs
    assert out.dtype == torch.float32
    for channel in range(3):
        expected = (inputs.select(axis, channel) - MEAN[channel]) / STD[channel]
        torch.testing.assert_close(out.select(axis, channel), expected)
    assert torch.equal(inputs, kept)
    floats = inputs.float()
    again = ActionDataPreprocessor(MEAN, STD, format_shape=layout)(Batch(inputs=floats)).inputs
    assert torch.equal(again, out)
    assert torch.equal(floats, inputs.float())  # the input is not modified


def test_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(UserError, match=r"3 channels, but inputs of shape \(1, 1, 2, 4, 5, 5\) have 2 on axis 2"):
        ActionDataPreprocessor(MEAN, STD)(Batch(inputs=frames(1, 1, 2, 4, 5, 5)))
    with pytest.raises(ValueError, match="set both mean and std, or neither"):
        ActionDataPreprocessor(MEAN)


def test_preprocessor_has_no_state() -> None:
    assert ActionDataPreprocessor(MEAN, STD).state_dict() == {}


def test_modalities_are_preprocessed_separately() -> None:
    both = MultiModalDataPreprocessor({"RGB": ActionDataPreprocessor(MEAN, STD), "heatmap": ActionDataPreprocessor()})
    out = both(Batch(inputs={"RGB": frames(1, 1, 3, 2, 2), "heatmap": torch.ones(1, 2)})).inputs
    assert out["RGB"].min() < 0
    assert torch.equal(out["heatmap"], torch.ones(1, 2))
    with pytest.raises(UserError, match="heatmap"):
        both(Batch(inputs={"RGB": frames(1, 1, 3, 2, 2)}))


def test_blending_only_while_training() -> None:
    batch = Batch(inputs=frames(4, 2, 3, 8, 8), labels=torch.tensor([0, 1, 2, 0]))
    preprocessor = ActionDataPreprocessor(MEAN, STD, blending=MixupBlending(3, alpha=1.0))
    torch.manual_seed(0)
    mixed = preprocessor.train()(batch)
    assert mixed.labels.shape == (4, 3)
    torch.testing.assert_close(mixed.labels.sum(1), torch.ones(4))
    still = preprocessor.eval()(batch)
    assert torch.equal(still.labels, batch.labels)
    assert not torch.equal(still.inputs, mixed.inputs)
    with pytest.raises(UserError, match="needs a label"):
        preprocessor.train()(Batch(inputs=batch.inputs))


def test_blending_is_reproducible() -> None:
    blending = RandomBatchAugment([MixupBlending(3, 0.8), CutmixBlending(3, 1.0)])
    inputs, labels = torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    outs = []
    for _ in range(2):
        torch.manual_seed(5)
        outs.append(blending(inputs, labels))
    assert torch.equal(outs[0][0], outs[1][0])
    assert torch.equal(outs[0][1], outs[1][1])
    assert pickle.loads(pickle.dumps(blending)) == blending


def test_mixup_draws_from_beta() -> None:
    torch.manual_seed(0)
    alpha = 0.4
    blending = MixupBlending(2, alpha)
    inputs, labels = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
    shares = []
    while len(shares) < 1000:
        mixed, soft = blending(inputs, labels)
        torch.testing.assert_close(mixed[:, 0], soft[:, 1])  # images and labels have the same weights
        if mixed[0] != 0 or mixed[1] != 1:  # the partner is the other sample
            shares.append(1 - mixed[0, 0].item())
    drawn = torch.tensor(shares)
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.04)
    assert drawn.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_cutmix_labels_follow_the_area() -> None:
    torch.manual_seed(0)
    blending = CutmixBlending(2, alpha=1.0)
    inputs = torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(2, 3, 20, 30)
    labels = torch.tensor([0, 1])
    areas = []
    for _ in range(300):
        mixed, soft = blending(inputs, labels)
        torch.testing.assert_close(mixed.mean((1, 2, 3)), soft[:, 1])
        areas.append(soft[0, 1].item())
    assert min(areas) == 0
    assert max(areas) > 0.5


def test_augments_are_drawn_by_their_probabilities() -> None:
    torch.manual_seed(0)
    blending = RandomBatchAugment([MixupBlending(2), CutmixBlending(2)], probs=[0.2, 0.3])
    inputs = torch.rand(2, 1, 8, 8)
    same = [torch.equal(blending(inputs, torch.tensor([0, 1]))[0], inputs) for _ in range(400)]
    assert 0.5 < sum(same) / 400 < 0.9  # half are unchanged, as are those that are their own partner
    _, labels = RandomBatchAugment([MixupBlending(2)], probs=[0.0])(inputs, torch.tensor([0, 1]))
    assert torch.equal(labels, torch.eye(2))


@pytest.mark.parametrize(
    ("augments", "probs", "message"),
    [
        ([], None, "must not be empty"),
        ([MixupBlending(2), CutmixBlending(3)], None, "same num_classes"),
        ([MixupBlending(2)], [0.5, 0.5], "one number per augment"),
        ([MixupBlending(2), CutmixBlending(2)], [0.7, 0.7], "at most 1"),
    ],
)
def test_augments_that_are_refused(augments: Any, probs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RandomBatchAugment(augments, probs)


def test_weights_of_0_and_1() -> None:
    inputs, labels, turned = torch.rand(2, 3, 8, 8), torch.eye(2), torch.tensor([1, 0])
    for lam, expected in ((1.0, inputs), (0.0, inputs[turned])):
        torch.testing.assert_close(mixup(inputs, labels, lam, turned)[0], expected)
        torch.testing.assert_close(cutmix(inputs, labels, lam, turned, (4, 4))[0], expected)


# Losses


def test_soft_labels_generalise_class_numbers() -> None:
    scores, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 1, 1])
    one_hot = torch.nn.functional.one_hot(labels, 4).float()
    for weights in (None, [1.0, 2.0, 0.5, 3.0]):
        loss = CrossEntropyLoss(loss_weight=2.0, class_weight=weights)
        torch.testing.assert_close(loss(scores, labels), loss(scores, one_hot))
        assert loss.state_dict() == {}


def test_class_weights_follow_the_dtype_of_the_model() -> None:
    loss = BCELossWithLogits(class_weight=[1.0, 2.0]).to(torch.float64)
    assert loss.class_weight is not None
    assert loss.class_weight.dtype == torch.float64


def test_losses_of_half_precision_scores_are_float32() -> None:
    scores = torch.tensor([[30.0, 0.0]], dtype=torch.bfloat16)
    assert CrossEntropyLoss()(scores, torch.tensor([1])).dtype == torch.float32


def test_focal_loss_weights_rare_classes() -> None:
    scores, labels = torch.zeros(2, 2), torch.tensor([0, 1])
    plain = CBFocalLoss([10, 10], gamma=0.0)(scores, labels)
    torch.testing.assert_close(plain, 2 * torch.tensor(2.0).log())
    rare = CBFocalLoss([1000, 10])
    assert rare(scores, torch.tensor([1, 1])) > rare(scores, torch.tensor([0, 0]))
    with pytest.raises(ValueError, match="one number per class"):
        CBFocalLoss([])
