"""DRN: grounding of sentences, trained parameters of each stage, padding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vid_localization.models.drn import DRN
from vid_localization.transforms.loading import LoadProposalFeatures
from vid_localization.transforms.queries import FormatQuery
from vidcore.batch import Batch, collate
from vidcore.errors import DataError, UserError
from vidcore.records import Segments, Text, Varying
from vidcore.sample import Sample

SMALL: dict[str, Any] = {
    "vocab_size": 9,
    "hidden_dim": 8,
    "embed_dim": 8,
    "first_output_dim": 8,
    "fpn_feature_dim": 16,
    "feature_dim": 6,
}
RNG = np.random.default_rng(0)


def drn(**settings: Any) -> DRN:
    torch.manual_seed(0)
    return DRN(**SMALL | settings)


def sample(words: list[int], truth: tuple[float, float] = (4.0, 10.0), parts: int = 32) -> Sample:
    """A video of 20 seconds; one feature, which depends on the first word, is higher within the segment."""
    edges = np.linspace(0, 20, parts + 1)
    features = np.random.default_rng(words[0]).standard_normal((parts, 6)).astype(np.float32)
    middles = (edges[:-1] + edges[1:]) / 2
    features[(middles > truth[0]) & (middles < truth[1]), words[0] % 6] += 4
    raw = Sample(
        path="v.pt",
        inputs={"features": features},
        duration=20.0,
        segments=Segments(np.array([truth])),
        proposals=Segments(np.stack((edges[:-1], edges[1:]), 1)),
        text=Text(("as the words say",), np.array(words)),
    )
    return FormatQuery()(raw, RNG)


def prepared(net: DRN, *samples: Sample) -> Batch:
    step = net.sample_step()
    return net.preprocess(collate([step(s, RNG) for s in samples]))


def test_format_query_reports_missing_inputs() -> None:
    formatted = sample([3, 1])
    words = formatted.inputs["query"]
    assert isinstance(words, Varying)
    assert words.array.tolist() == [3, 1]
    assert {k: np.shape(v) for k, v in formatted.inputs.items() if k != "query"} == {
        "features": (32, 6),
        "proposals": (32, 2),
        "query_length": (),
    }
    assert formatted.inputs["proposals"][-1].tolist() == pytest.approx([31 / 32, 1])
    with pytest.raises(UserError, match="needs the features of LoadProposalFeatures"):
        FormatQuery()(Sample(path="v.pt", inputs={"features": np.ones((2, 3))}), RNG)


@pytest.mark.parametrize("settings", [{}, {"lstm_layers": 2, "bidirection": False, "fcos_conv_layers": 2}])
def test_a_sample_does_not_depend_on_its_batch(settings: dict[str, Any]) -> None:
    net = drn(**settings).eval()
    samples = [sample([1, 2]), sample([5, 4, 3, 2, 1]), sample([7])]
    with torch.no_grad():
        together = net((prepared(net, *samples)).inputs)
        assert [tuple(t.shape) for t in together] == [(3, 56), (3, 56, 2), (3, 56)]
        for i, one in enumerate(samples):
            for a, b in zip(together, net(prepared(net, one).inputs), strict=True):
                torch.testing.assert_close(a[i], b[0])


def test_predictions_are_seconds_best_first() -> None:
    net = drn(fcos_inference_thr=0.0).eval()
    batch = prepared(net, sample([1]), sample([2, 3]))
    with torch.no_grad():
        found = net.predict(net(batch.inputs), batch)
    for one in found:
        assert len(one.segments) == 6
        assert one.segments.spans.min() >= 0 and one.segments.spans.max() <= 20
        assert (np.diff(one.segments.scores) <= 0).all()


def test_candidates_are_likely_matches_and_the_best_of_each_level() -> None:
    batch = prepared(drn(), sample([1]))
    probability = torch.full((1, 56), 0.01)
    probability[0, [3, 5, 32, 50]] = torch.tensor([0.4, 0.6, 0.5, 0.3])
    outputs = (probability.logit(), torch.ones(1, 56, 2), torch.full((1, 56), 20.0))
    (rows,) = drn(fcos_pre_nms_top_n=1).candidates(outputs)
    np.testing.assert_allclose(rows[:, 2] ** 2, [0.6, 0.5, 0.3], atol=1e-4)
    np.testing.assert_allclose(rows[0, :2], [4.5 / 32, 6.5 / 32], atol=1e-6)
    silent = drn().predict((probability.logit() * 0 - 9, *outputs[1:]), batch)[0]
    assert silent.segments.spans.shape == (0, 2)


@pytest.mark.parametrize("stage", ["first", "second", "third"])
def test_stages_train_their_parts(stage: Any) -> None:
    net = drn(stage=stage).train()
    batch = prepared(net, sample([1]))
    losses = net.loss(net(batch.inputs), batch)
    assert set(losses) == {"loss_cls", "loss_reg", "loss_iou"}
    sum(losses.values()).backward()
    judging = {n for n, _ in net.named_parameters() if n.startswith(("fcos.head.mix_fc", "fcos.head.iou_scores"))}
    everything = {n for n, _ in net.named_parameters()}
    wanted = {"first": everything - judging, "second": judging, "third": everything}[stage]
    assert {n for n, p in net.named_parameters() if p.grad is not None} == wanted
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.grad is not None)


def test_quality_is_learned_from_good_segments_only() -> None:
    net, batch = drn(stage="second"), prepared(drn(), sample([1], (5.0, 10.0)))
    right = torch.tensor([[0.25, 0.5]])
    places, _, number = net.places(torch.zeros(1, 56))
    distances = torch.stack((places - right[:, :1], right[:, 1:] - places), -1) * number
    quality = torch.zeros(1, 56)
    losses = net.loss((quality, distances, quality), batch)
    assert losses["loss_iou"] == pytest.approx(0.125, abs=1e-4)  # half the square of 1 - sigmoid(0)
    assert net.loss((quality, distances * 2, quality), batch)["loss_iou"] == 0
    assert drn(stage="first").loss((quality, distances, quality), batch)["loss_iou"] == 0


def test_it_finds_the_segment_of_a_word() -> None:
    net = drn(stage="first", first_output_dim=16).train()
    batch = prepared(net, *(sample([w], t) for w, t in ((1, (4.0, 10.0)), (2, (1.0, 4.0)), (3, (12.0, 19.0)))))
    optimizer = torch.optim.Adam(net.parameters(), 5e-3)
    totals = []
    for _ in range(60):
        total = sum(net.loss(net(batch.inputs), batch).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert totals[-1] < totals[0] / 3
    with torch.no_grad():
        found = net.eval().predict(net(batch.inputs), batch)
    for one, target in zip(found, batch.samples, strict=True):
        np.testing.assert_allclose(one.segments.spans[0], target.segments.spans[0], atol=1.5)


def test_a_sentence_must_describe_one_segment() -> None:
    net = drn()
    with pytest.raises(DataError, match=r"v\.pt: a sentence must describe one segment, found 2"):
        prepared(net, sample([1]).replace(segments=Segments(np.array([[0, 1], [2, 3.0]]))))


def test_a_sentence_of_ones_own(tmp_path: Path) -> None:
    words = tmp_path / "words.json"
    words.write_text(json.dumps({"a": 1, "person": 2, "opens": 3, "the": 4, "door": 5}))
    np.save(tmp_path / "v.npy", np.arange(100 * 4, dtype=np.float32).reshape(100, 4))
    info = {"video": "v.mp4", "settings": "-", "frames": 500, "duration": 20.0, "rows": 100, "channels": 4}
    (tmp_path / "v.json").write_text(json.dumps(info))
    asked = Sample(path=str(tmp_path / "v.npy"), text=Text(("A person opens the door.",)))
    pooled = LoadProposalFeatures()(asked, RNG)
    sample = FormatQuery(words)(pooled, RNG)
    assert sample.inputs["query"].array.tolist() == [1, 2, 3, 4, 5]
    assert sample.inputs["features"].shape == (32, 4)
    assert sample.inputs["proposals"].shape == (32, 2)
    assert sample.inputs["proposals"][0].tolist() == pytest.approx([0, 0.03])
    assert sample.inputs["features"][0].tolist() == [12, 13, 14, 15], "the maximum of the first four"
    with pytest.raises(UserError, match=r"words.json: has no word 'doors'; did you mean 'door'"):
        FormatQuery(words)(pooled.replace(text=Text(("opens the doors",))), RNG)
    with pytest.raises(UserError, match="word2id_file must name the table of words"):
        FormatQuery()(pooled, RNG)
    (tmp_path / "v.json").unlink()
    with pytest.raises(UserError, match=r"v.npy: the duration of the video is not known; vidcore features stores it"):
        LoadProposalFeatures()(asked, RNG)
