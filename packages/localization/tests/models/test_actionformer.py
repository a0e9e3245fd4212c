"""ActionFormer: window attention, independence of samples, targets of positions, predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vid_localization.models.actionformer import ActionFormer, assign, boundary_loss, focal_loss
from vid_localization.models.actionformer_layers import sinusoids, window_attention
from vidcore.batch import Batch, collate
from vidcore.errors import DataError, UserError
from vidcore.records import Segments, Varying
from vidcore.sample import Sample

SMALL: dict[str, Any] = {"hidden_dim": 16, "levels": 4, "window_size": 5}


def small(**changes: Any) -> ActionFormer:
    torch.manual_seed(0)
    model = ActionFormer(6, **{"num_classes": 3, **SMALL, **changes})
    for name, parameter in model.named_parameters():
        if "scale1" in name or "scale2" in name:  # branches with an effect
            torch.nn.init.ones_(parameter)
    return model


def video(length: int, segments: list[list[float]], labels: list[int] | None = None, seed: int = 0) -> Sample:
    """A video with half a second per position."""
    features = np.random.default_rng(seed + length).standard_normal((6, length)).astype(np.float32)
    true = np.array(segments, np.float64).reshape(-1, 2)
    return Sample(
        path=f"{length}.npy",
        inputs={"features": Varying(features, axis=1)},
        duration=length / 2,
        feature_times=(np.arange(length) + 0.5) / 2,
        segments=Segments(true, np.array(labels or [0] * len(segments), np.int64)),
        class_names=("jump", "run", "turn"),
    )


def batched(model: ActionFormer, *samples: Sample) -> Batch:
    step = model.sample_step()
    return collate([step(sample, np.random.default_rng(0)) for sample in samples])


def outputs(model: ActionFormer, batch: Batch) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = model(model.preprocess(batch).inputs)
    return found


@pytest.mark.parametrize("window", [1, 3, 7, 19])
@pytest.mark.parametrize("length", [1, 5, 18, 50])
def test_window_attention_equals_masked_attention(window: int, length: int) -> None:
    q, k, v = torch.randn(3, 2, 4, length, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    valid = torch.arange(length) < torch.tensor([[length], [length // 2 + 1]])
    place = torch.arange(length)
    near = (place[:, None] - place).abs() <= window // 2
    seen = near & (valid[:, None, None] | torch.eye(length, dtype=torch.bool))
    found = window_attention(q, k, v, valid[:, None], window)
    torch.testing.assert_close(found, F.scaled_dot_product_attention(q, k, v, attn_mask=seen))
    if length < window // 2:
        whole = F.scaled_dot_product_attention(q, k, v, attn_mask=valid[:, None, None])
        torch.testing.assert_close(found[0], whole[0])


def test_memory_of_window_attention_is_linear() -> None:
    sizes: list[int] = []
    original = F.scaled_dot_product_attention

    def watch(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attn_mask: torch.Tensor) -> torch.Tensor:
        sizes.append(attn_mask.numel())
        return original(q, k, v, attn_mask=attn_mask)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", watch)
        for length in (1000, 4000):
            x = torch.zeros(1, 1, length, 2)
            window_attention(x, x, x, torch.ones(1, 1, length, dtype=torch.bool), 19)
    assert sizes[1] < 4.1 * sizes[0]
    assert sizes[1] < 4000 * 50


@pytest.mark.parametrize(
    "changes",
    [{}, {"window_size": [3, 5, 7, -1]}, {"window_size": -1}, {"position_embedding": True, "levels": 1}],
    ids=str,
)
@pytest.mark.parametrize("length", [1, 2, 13, 16])
def test_predictions_do_not_depend_on_the_batch(changes: dict[str, Any], length: int) -> None:
    model = small(**changes).eval()
    alone, other = video(length, []), video(37, [])
    together = batched(model, alone, other)
    together = together.replace(inputs=F.pad(together.inputs, (0, 5), value=9.0))  # values after the end do not matter
    with torch.no_grad():
        one, both = outputs(model, batched(model, alone)), outputs(model, together)
    mine = both["valid"][0]
    assert int(mine.sum()) == int(one["valid"].sum()) == one["valid"].numel()
    torch.testing.assert_close(both["points"][mine], one["points"])
    for key in ("logits", "distances"):
        torch.testing.assert_close(both[key][0][mine], one[key][0])
    assert both["distances"].max() > 0


def test_losses_do_not_depend_on_padding() -> None:
    model = small().eval()
    samples = [video(13, [[1, 4]], [2]), video(40, [[2, 5], [7, 19]], [0, 1])]
    parts = [model.loss(outputs(model, b), b) for b in (batched(model, s) for s in samples)]
    both = batched(model, *samples)
    whole = model.loss(outputs(model, both), both)
    for key, value in whole.items():
        torch.testing.assert_close(value, parts[0][key] + parts[1][key])


def test_positions_learn_the_shortest_matching_segment() -> None:
    strides = torch.tensor([1.0] * 40 + [2.0] * 20 + [4.0] * 10)
    points = torch.stack((torch.cat([torch.arange(40 // s) * s for s in (1.0, 2.0, 4.0)]), strides), 1)
    segments = torch.tensor([[2.5, 7.5], [10.0, 22.0], [20.0, 39.0], [10.0, 22.0]])
    classes = F.one_hot(torch.tensor([0, 1, 2, 2]), 4).float()
    distances, labels = assign(points, segments, classes, 1.5)

    def learning(stride: int, label: int) -> list[float]:
        return points[(strides == stride) & (labels[:, label] > 0), 0].tolist()

    assert learning(1, 0) == [4, 5, 6]  # within 1.5 of 5, and neither bound is farther than 4
    assert learning(2, 0) == []
    assert learning(2, 1) == [14, 16, 18]  # of the second level: the farther bound is at 4 to 8
    assert learning(2, 2) == [14, 16, 18]  # two segments in one place
    assert learning(4, 1) == [12, 20]  # and of the last: at 8 or more
    assert learning(4, 2) == [12, 20, 24, 28, 32]
    assert not labels[:, 3].any()
    at = points[:, 0].tolist().index(14, 40)
    assert distances[at].tolist() == [4, 8]
    assert (distances[labels.any(1)] > 0).all()
    nothing = assign(points, torch.zeros(0, 2), torch.zeros(0, 4), 1.5)
    assert [n.shape for n in nothing] == [(70, 2), (70, 4)]
    assert not nothing[1].any()


def test_loss_functions() -> None:
    found, true = torch.tensor([[1.0, 3.0], [2.0, 2.0], [0.0, 0.0]]), torch.tensor([[1.0, 3.0], [2.0, 6.0], [1.0, 1.0]])
    torch.testing.assert_close(boundary_loss(found, true), torch.tensor([0.0, 1 - 4 / 8 + (2 / 8) ** 2, 1.0]))
    logits, targets = torch.tensor([0.3, -1.0]), torch.tensor([1.0, 0.0])
    chance = logits.sigmoid()
    wanted = torch.stack(
        (-0.25 * (1 - chance[0]) ** 2 * chance[0].log(), -0.75 * chance[1] ** 2 * (1 - chance[1]).log())
    )
    torch.testing.assert_close(focal_loss(logits, targets), wanted)
    extreme = focal_loss(torch.tensor([-200.0, 200.0], requires_grad=True), targets)
    extreme.sum().backward()
    assert extreme.isfinite().all()


def test_sinusoids() -> None:
    table = sinusoids(7, 5, torch.device("cpu")) * 5**0.5
    assert table.shape == (5, 7)
    torch.testing.assert_close(table[0], torch.arange(7).sin())
    torch.testing.assert_close(table[3], (torch.arange(7) * 10000 ** (-2 / 5)).cos())


@pytest.mark.parametrize("segments", [[], [[1.0, 4.0]], [[i / 4, i / 4 + 2] for i in range(40)]], ids=len)
def test_losses_are_finite_and_reach_every_parameter(segments: list[list[float]]) -> None:
    model = small(label_smoothing=0.1, dropout=0.1).train()
    given = batched(model, video(30, segments), video(11, []))
    losses = model.loss(outputs(model, given), given)
    assert losses.keys() == {"cls_loss", "reg_loss"}
    total = torch.stack([*losses.values()]).sum()
    total.backward()
    assert total.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_losses_are_divided_by_the_average_number_of_positives() -> None:
    model = small(initial_positives=50.0)
    given = batched(model, video(30, [[1.0, 4.0]]))
    found = outputs(model, given)
    true = given.targets["segments"].values, given.targets["classes"].values
    count = int((assign(found["points"], *true, 1.5)[1] > 0).any(1).sum())
    assert count > 0
    model.eval()
    before = model.loss(found, given)["cls_loss"]
    assert model.positives == 50, "evaluation changes nothing"
    model.train()
    after = model.loss(found, given)["cls_loss"]
    usual = 0.9 * 50 + 0.1 * count
    assert model.positives.item() == pytest.approx(usual)
    assert after.item() == pytest.approx(before.item() * 50 / usual)
    other = small()
    other.load_state_dict(model.state_dict())
    assert other.positives == model.positives
    total = sum(model.loss(outputs(model, given), given)["cls_loss"] for _ in range(2))  # accumulated steps
    assert isinstance(total, torch.Tensor)
    total.backward()


def learned(model: ActionFormer, given: Batch, steps: int = 60) -> list[float]:
    optimizer = torch.optim.AdamW(model.train().parameters(), 3e-3)
    values = []
    for _ in range(steps):
        losses = model.loss(outputs(model, given), given)
        total = losses["cls_loss"] + losses["reg_loss"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(float(total.detach()))
    model.eval()
    return values


def test_it_learns_segments_in_seconds() -> None:
    model = small(drop_path=0.0, initial_positives=10.0)
    segments, labels = [[2.0, 5.0], [9.25, 18.0]], [1, 2]
    given = batched(model, video(40, segments, labels), video(13, [[1.0, 3.0]], [0]))
    values = learned(model, given)
    assert values[-1] < values[0] / 10
    with torch.no_grad():
        first, second = model.predict(outputs(model, given), given)
    for i, (segment, label) in enumerate(zip(segments, labels, strict=True)):
        best = next(k for k, found in enumerate(first.segments.labels) if found == label)
        np.testing.assert_allclose(first.segments.spans[best], segment, atol=0.3)
        assert first.segments.scores[best] > 0.3, i
    assert second.segments.labels[0] == 0
    np.testing.assert_allclose(second.segments.spans[0], [1, 3], atol=0.3)


def test_predictions_lie_in_the_video_best_first() -> None:
    model = small(post_process_top_k=9, pre_nms_top_k=30).eval()
    torch.nn.init.zeros_(model.classifier.bias)
    given = batched(model, video(40, []), video(1, []), video(9, []))
    with torch.no_grad():
        found = model.predict(outputs(model, given), given)
    assert len(found[0].segments) == 9
    for sample in found:
        assert sample.segments.spans.dtype == sample.segments.scores.dtype == np.float64
        assert sample.segments.labels.dtype == np.int64
        assert len(sample.segments) == len(sample.segments.scores) == len(sample.segments.labels)
        assert ((sample.segments.spans >= 0) & (sample.segments.spans <= sample.duration)).all()
        assert (sample.segments.spans[:, 0] <= sample.segments.spans[:, 1]).all()
        assert (np.diff(sample.segments.scores) <= 0).all()
        assert sample.segments.labels.max(initial=0) < 3
    torch.nn.init.constant_(model.classifier.bias, -99)
    with torch.no_grad():
        given = batched(model, video(40, []))
        (nothing,) = model.predict(outputs(model, given), given)
    assert nothing.segments.spans.shape == (0, 2)
    assert nothing.segments.labels.shape == (0,)


def test_without_classes_segments_get_the_classes_of_the_video() -> None:
    model = small(num_classes=None, drop_path=0.0, initial_positives=10.0)
    sample = video(40, [[2.0, 5.0], [9.25, 18.0]], [1, 2])
    given = batched(model, sample)
    assert learned(model, given, 40)[-1] < 0.5
    named = batched(model, sample.replace(scores=np.array([0, 0.5, 0.25], np.float32)))
    with torch.no_grad():
        found = outputs(model, given)
        (plain,), (classed,) = model.predict(found, given), model.predict(found, named)
    assert plain.segments.labels is None
    assert set(classed.segments.labels) == {1, 2}
    assert len(classed.segments) == 2 * len(plain.segments)
    assert classed.segments.scores[0] == pytest.approx(plain.segments.scores[0] / 2)
    np.testing.assert_array_equal(classed.segments.spans[0], plain.segments.spans[0])


def test_the_published_model_has_its_published_size() -> None:
    with torch.device("meta"):
        size = sum(p.numel() for p in ActionFormer(2048, 20).parameters())
    assert size == 29_251_612  # the paper: 29.3 million


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="window_size must be odd"):
        ActionFormer(6, window_size=8)
    with pytest.raises(ValueError, match="window_size has 2 numbers for 6 levels"):
        ActionFormer(6, window_size=[7, -1])
    with pytest.raises(ValueError, match="multiple of heads"):
        ActionFormer(6, hidden_dim=18)
    with pytest.raises(ValueError, match="levels"):
        ActionFormer(6, levels=0)
    model, sample = small(), video(9, [[1, 2]])
    with pytest.raises(DataError, match=r"9\.npy: has no feature_times"):
        batched(model, sample.replace(feature_times=None))
    with pytest.raises(UserError, match=r"6 channels .* got 5"):
        model.preprocess(batched(model, sample.with_inputs(features=Varying(np.zeros((5, 9), np.float32), axis=1))))
    given = batched(model, sample, sample.replace(path="none.npy", segments=None))
    with pytest.raises(UserError, match=r"none\.npy: training needs the true segments"):
        model.loss(outputs(model, given), given)
    with pytest.raises(
        UserError, match=r"9\.npy: training needs the true segments of every sample, with their classes"
    ):
        batched(model, sample.replace(segments=Segments(np.array([[1.0, 2.0]]))))
