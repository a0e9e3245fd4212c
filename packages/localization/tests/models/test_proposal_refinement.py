"""TCANet: refinement of proposals, padding, masks and published weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from vid_localization.models.refinement import (
    centre_width_offsets,
    move_boundaries,
    move_centre_width,
    paired_iou,
    sample_regions,
    start_end_offsets,
)
from vid_localization.models.tcanet import TCANet, window_mask
from vidcore.batch import Batch, collate
from vidcore.engine.weights import load_state
from vidcore.errors import CheckpointError, DataError, UserError
from vidcore.records import Segments, Varying
from vidcore.sample import Sample

SEGMENTS = torch.tensor([[0.2, 0.4], [0.1, 0.9]])
TRUTH = torch.tensor([[0.25, 0.35], [0.0, 0.8]])
PROPOSALS = np.array([[2.0, 7.0], [3.0, 9.0], [14.0, 16.0]])


def model(**settings: int) -> TCANet:
    torch.manual_seed(0)
    return TCANet(8, 8, 16, temporal_dim=20, window_size=5, post_process_top_k=4, **settings)


def sample(proposals: np.ndarray | None = PROPOSALS, truth: np.ndarray | None = None) -> Sample:
    """A video of 20 seconds whose features are higher within its action."""
    action = np.array([[4.0, 10.0]]) if truth is None else truth
    rng, middles = np.random.default_rng(0), np.arange(20) + 0.5
    inside = ((middles > action[:, :1]) & (middles < action[:, 1:])).any(0)
    features = (rng.standard_normal((8, 20)) + 2 * inside).astype(np.float32)
    listed = None if proposals is None else Segments(proposals, scores=np.linspace(0.9, 0.5, len(proposals)))
    return Sample(
        path="v.npy",
        inputs={"features": Varying(features, axis=1)},
        duration=20.0,
        segments=Segments(action),
        proposals=listed,
    )


def prepared(net: TCANet, *samples: Sample) -> Batch:
    step = net.sample_step()
    return net.preprocess(collate([step(s, np.random.default_rng(0)) for s in samples]))


def test_offsets_move_segments_to_the_targets() -> None:
    torch.testing.assert_close(move_boundaries(SEGMENTS, start_end_offsets(SEGMENTS, TRUTH), 1.0), TRUTH)
    torch.testing.assert_close(move_centre_width(SEGMENTS, centre_width_offsets(SEGMENTS, TRUTH), 1.0, 1.0), TRUTH)
    torch.testing.assert_close(paired_iou(SEGMENTS, TRUTH), torch.tensor([0.5, 7 / 9]), atol=1e-4, rtol=0)


def test_regions_are_sampled_at_the_middles_of_equal_parts() -> None:
    ramp = (torch.arange(20.0) + 0.5).view(1, 1, 20)  # its value at a fraction p is 20 p
    before, inside, after = sample_regions(ramp, torch.tensor([[[0.2, 0.6]]]), 0.5, 2, 4)
    torch.testing.assert_close(before.flatten(), torch.tensor([1.0, 3.0]))
    torch.testing.assert_close(inside.flatten(), torch.tensor([5.0, 7.0, 9.0, 11.0]))
    torch.testing.assert_close(after.flatten(), torch.tensor([13.0, 15.0]))


def test_half_of_the_heads_are_local() -> None:
    hidden = window_mask(4, 6, 3)
    assert [hidden[head, 2].tolist() for head in (1, 2)] == [[True, False, False, False, True, True], [False] * 6]


def test_padding_changes_nothing() -> None:
    net = model().eval()
    one, other = sample(), sample(PROPOSALS[:1])
    with torch.no_grad():
        together = net.predict(net((batch := prepared(net, one, other)).inputs), batch)
        alone = [net.predict(net((batch := prepared(net, s)).inputs), batch)[0] for s in (one, other)]
    assert [len(s.segments) for s in together] == [4, 3], "the best four of three stages"
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.segments.spans, b.segments.spans, atol=1e-4)
        np.testing.assert_allclose(a.segments.scores, b.segments.scores, atol=1e-5)
        assert (np.diff(a.segments.scores) <= 0).all()
        assert a.segments.spans.min() >= 0 and a.segments.spans.max() <= 20


def test_it_learns_to_move_proposals_to_the_action() -> None:
    net = model().train()
    batch = prepared(net, sample(), sample(PROPOSALS + 0.5))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    totals = []
    for _ in range(25):
        losses = net.loss(net(batch.inputs), batch)
        total = sum(losses.values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    assert set(losses) == {f"{kind}loss{stage}" for kind in "ri" for stage in (1, 2, 3)}
    assert totals[-1] < totals[0] / 2
    truth = torch.tensor([[0.2, 0.5]]).expand(2, -1)
    *_, overlap, after = net.eval()(batch.inputs)[-1]
    before = batch.inputs["proposals"]
    assert paired_iou(after[0, :2], truth).sum() > paired_iou(before[0, :2], truth).sum()
    assert overlap[0, :2].min() > overlap[0, 2], "the last proposal overlaps nothing"


@pytest.mark.parametrize("truth", [np.zeros((0, 2)), np.array([[18.0, 20.0]])], ids=["no truth", "none near"])
def test_without_targets_only_overlaps_are_learned(truth: np.ndarray) -> None:
    net = model().train()
    batch = prepared(net, sample(truth=truth))
    losses = net.loss(net(batch.inputs), batch)
    assert all(losses[f"rloss{stage}"] == 0 for stage in (1, 2, 3))
    sum(losses.values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_missing_inputs_are_refused() -> None:
    net = model()
    with pytest.raises(DataError, match=r"v\.npy: has no proposals"):
        prepared(net, sample(None))
    batch = prepared(net, sample().replace(segments=None))
    with pytest.raises(UserError, match=r"v\.npy: training needs the true segments"):
        net.loss(net(batch.inputs), batch)


def test_it_exports() -> None:
    net = model().eval()
    inputs = prepared(net, sample(), sample()).inputs
    exported = torch.export.export(net, (inputs,)).module()
    for got, wanted in zip(exported(inputs), net(inputs), strict=True):
        torch.testing.assert_close(got, wanted)


def test_published_masks_must_have_the_same_window() -> None:
    net = model()
    masks = {f"lgtes.{i}.mask": window_mask(8, 20, 5)[None].long() for i in range(2)}
    load_state(net, net.state_dict() | masks)
    masks["lgtes.1.mask"] = window_mask(8, 20, 7)[None].long()
    with pytest.raises(CheckpointError, match=r"lgtes\.1\.mask has a different window_size"):
        load_state(net, net.state_dict() | masks)


TASK = """
[model]
type = "TCANet"
feat_dim = 8
se_sample_num = 8
action_sample_num = 16
temporal_dim = 20
window_size = 5

[data.train]
batch_size = 2
workers = 0
dataset = { type = "ActivityNetDataset", ann_file = "a.json", data_root = "features", suffix = ".npy" }
pipeline.features = { type = "LoadLocalizationFeature" }

[data.val]
workers = 0
dataset = { type = "ActivityNetDataset", ann_file = "a.json", data_root = "features", suffix = ".npy" }
pipeline.features = { type = "LoadLocalizationFeature" }

[train]
epochs = 6

[optimizer]
type = "Adam"
lr = 0.001

[metrics.anet]
type = "ANetMetric"
metric_type = "AR@AN"

[runtime]
device = "cpu"
"""


def test_a_task_trains_it_on_files(tmp_path: Path, vidcore: Callable[..., str]) -> None:
    (tmp_path / "features").mkdir()
    videos = {}
    for i in range(4):
        action = np.array([[2.0 + i, 8.0 + i]])
        np.save(tmp_path / "features" / f"v{i}.npy", sample(truth=action).inputs["features"].array.T)
        videos[f"v{i}"] = {
            "duration_second": 20,
            "annotations": [{"segment": action[0].tolist(), "label": "jump"}],
            "proposals": [[a / 20, b / 20, 0.5] for a, b in ((1 + i, 6 + i), (3 + i, 9.5 + i), (15, 17))],
        }
    (tmp_path / "a.json").write_text(json.dumps(videos))
    (tmp_path / "task.toml").write_text(TASK)
    vidcore(tmp_path, "run", "task.toml", "--dir", "run")
    assert json.loads((tmp_path / "run" / "report.json").read_text())["scores"]["AR@100"] > 0.5
