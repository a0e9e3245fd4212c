"""Proposal networks: proposals, finite losses and published weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vid_localization.models.bmn import BMN
from vid_localization.models.boundary_matching import BoundaryMatching, sample_mask, valid_proposals
from vid_localization.models.bsn import PEM, TEM
from vid_localization.models.losses import BMNLoss
from vidcore.batch import Batch, collate
from vidcore.engine.weights import load_state
from vidcore.errors import CheckpointError, UserError
from vidcore.records import Segments
from vidcore.sample import Sample

SUPPRESSION: dict[str, Any] = {
    "soft_nms_alpha": 0.4,
    "soft_nms_low_threshold": 0.5,
    "soft_nms_high_threshold": 0.9,
    "post_process_top_k": 5,
}
MANY = np.linspace(0, 18, 40)[:, None] + np.array([0.0, 2.0])


def bmn() -> BMN:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_dim_1d": 8, "hidden_dim_2d": 4, "hidden_dim_3d": 8}
    return BMN(10, 0.5, 4, 2, feat_dim=8, **SUPPRESSION, **sizes)


def tem() -> TEM:
    torch.manual_seed(0)
    return TEM(10, 0.1, 8, 16, 0.5, conv3_ratio=1.0)


def pem() -> PEM:
    torch.manual_seed(0)
    return PEM(10, 16, 1, 2, 0.6, 0.2, **SUPPRESSION)


def batch(model: Any, *truths: np.ndarray) -> Batch:
    rng, step = np.random.default_rng(0), model.sample_step()
    samples = [
        Sample(
            inputs={"features": rng.standard_normal((8, 10)).astype(np.float32)},
            duration=20.0,
            segments=Segments(segments),
            proposals=Segments(np.sort(rng.uniform(0, 20, (8, 2)), 1), scores=rng.uniform(0, 1, 8)),
        )
        for segments in truths
    ]
    return collate([step(sample, rng) for sample in samples])


@pytest.mark.parametrize("make", [bmn, tem, pem])
@pytest.mark.parametrize("truth", [np.zeros((0, 2)), np.array([[4.0, 9.0]]), MANY], ids=["none", "one", "many"])
def test_losses_are_finite_and_reach_every_parameter(make: Any, truth: np.ndarray) -> None:
    model = make()
    given = batch(model, truth, np.zeros((0, 2)))
    losses = model.loss(model(model.preprocess(given).inputs), given)
    total = sum(value for key, value in losses.items() if "loss" in key)
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize("make", [bmn, pem])
def test_proposals_lie_in_the_video_best_first(make: Any) -> None:
    model = make().eval()
    given = batch(model, MANY, MANY)
    with torch.no_grad():
        found = model.predict(model(given.inputs), given)
        again = model.predict(model(given.inputs), given)
    for sample, other in zip(found, again, strict=True):
        assert 0 < len(sample.segments) <= 5
        assert (sample.segments.spans[:, 0] < sample.segments.spans[:, 1]).all()
        assert sample.segments.spans.min() >= 0 and sample.segments.spans.max() <= 20
        assert (np.diff(sample.segments.scores) <= 0).all()
        np.testing.assert_array_equal(sample.segments.spans, other.segments.spans)
    assert not np.array_equal(found[0].segments.scores, found[1].segments.scores), "each sample has its own proposals"


def test_annotations_are_needed_for_training_only() -> None:
    model = tem()
    sample = Sample(path="a.csv", inputs={"features": np.zeros((8, 10), np.float32)}, duration=3.0)
    given = collate([model.sample_step()(sample, np.random.default_rng(0))])
    outputs = model(given.inputs)
    assert model.predict(outputs, given)[0].extra["boundaries"].table.shape == (10, 5)
    with pytest.raises(UserError, match=r"a\.csv: training needs the true segments"):
        model.loss(outputs, given)


def test_the_layer_equals_the_published_matrix_and_convolution() -> None:
    size = (10, 4, 2, 0.5)
    x, kernel = torch.randn(2, 3, 10), torch.randn(5, 3, 4)
    sampled = torch.einsum("bct,tnds->bcnds", x, torch.from_numpy(sample_mask(*size)))
    torch.testing.assert_close(BoundaryMatching(*size)(x, kernel), torch.einsum("bcnds,ocn->bods", sampled, kernel))


def test_published_masks_must_have_the_same_arguments() -> None:
    model = bmn()
    masks = {"sample_mask": torch.from_numpy(sample_mask(10, 4, 2, 0.5)).flatten(1), "bm_mask": valid_proposals(10)}
    load_state(model, model.state_dict() | masks)
    masks["sample_mask"] = torch.from_numpy(sample_mask(10, 4, 2, 0.25)).flatten(1)
    with pytest.raises(CheckpointError, match=r"sample_mask differs \(temporal_dim"):
        load_state(model, model.state_dict() | masks)


def test_only_weight_outside_bands_weights_cells_outside_of_the_bands() -> None:
    overlap, valid = torch.zeros(1, 4, 4), valid_proposals(4)
    overlap[0, :2, 0] = torch.tensor([0.9, 0.5])
    overlap[0, 0, 1] = 0.8
    predicted = torch.zeros(1, 4, 4)
    predicted[0, 3, 3] = 1.0  # an impossible proposal
    right, published = (BMNLoss(weight_outside_bands=outside) for outside in (False, True))
    moved = torch.zeros(1, 4, 4)
    assert right.regression_loss(predicted, overlap, valid) == right.regression_loss(moved, overlap, valid)
    assert published.regression_loss(predicted, overlap, valid) > published.regression_loss(moved, overlap, valid)


def test_bmn_exports() -> None:
    model, x = bmn().eval(), torch.randn(1, 8, 10)
    exported = torch.export.export(model, (x,)).module()
    for got, wanted in zip(exported(x), model(x), strict=True):
        torch.testing.assert_close(got, wanted)
