"""SSN: pyramid, head, loss and detections."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vid_localization.datasets.structured import SSNDataset
from vid_localization.models.ssn import SSN
from vid_localization.models.ssn_head import SSNHead, pyramid_bounds
from vid_localization.models.ssn_loss import SSNLoss
from vid_localization.transforms.structured import BACKGROUND, FOREGROUND, INCOMPLETE, SampleProposalFrames
from vidcore.batch import collate
from vidcore.errors import UserError
from vidcore.nn import Preprocessor
from vidcore.records import Segments
from vidcore.sample import Sample
from vidcore.transforms.crops import CenterCrop, TenCrop
from vidcore.transforms.formatting import FormatShape
from vidcore.transforms.loading import Decode, OpenVideo


def test_the_pyramid_has_no_empty_part() -> None:
    bounds = pyramid_bounds(torch.tensor([[0, 2, 7, 9], [3, 3, 4, 4]]), ((1,), (1, 2), (1,)))
    assert bounds[0].tolist() == [[0, 2], [2, 7], [2, 4], [4, 7], [7, 9]]
    assert (bounds[1, :, 1] - bounds[1, :, 0]).min() == 1


@pytest.mark.parametrize("stages", [((1,), (1,), (1,)), ((1,), (1, 2), (1,)), ((2,), (1, 2, 3), (1, 2))])
def test_pooling_last_gives_the_scores_of_training(stages: tuple[tuple[int, ...], ...]) -> None:
    torch.manual_seed(0)
    head = SSNHead(in_channels=6, num_classes=3, stpp_stage=stages, init_std=0.5).double().eval()
    torch.nn.init.normal_(head.completeness_fc.bias)
    torch.nn.init.normal_(head.regressor_fc.bias)
    video, scales = torch.randn(40, 6).double(), torch.rand(4, 2).double()
    starts = torch.tensor([0, 5, 20, 31])
    windows = torch.stack([video[a : a + 9] for a in starts])
    ticks = starts[:, None] + torch.tensor([0, 2, 7, 9])
    trained = head(windows, scales)
    pooled = head.pool(head.score_frames(video), ticks, scales)
    for name, expected in trained.items():
        torch.testing.assert_close(pooled[name], expected, rtol=1e-12, atol=1e-12)


def test_a_proposal_at_the_end_uses_the_last_frame() -> None:
    head = SSNHead(in_channels=4, num_classes=2, init_std=0.5).eval()
    frames = head.score_frames(torch.randn(5, 4))
    scores = head.pool(frames, torch.tensor([[4, 5, 5, 5]]), torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(scores["activity"][0].float(), frames["activity"][4])


def test_activity_ignores_incomplete_proposals() -> None:
    torch.manual_seed(0)
    types = torch.tensor([FOREGROUND, BACKGROUND, *[INCOMPLETE] * 6])
    labels = torch.tensor([2, 0, 1, 1, 2, 2, 3, 3])
    activity, completeness = torch.randn(8, 4, requires_grad=True), torch.randn(8, 3, requires_grad=True)
    losses = SSNLoss()(activity, completeness, types, labels, torch.zeros(8, 2))
    sum(losses.values()).backward()
    assert activity.grad is not None
    assert completeness.grad is not None
    assert (activity.grad.abs().sum(1) > 0).tolist() == [True, True] + [False] * 6
    assert (completeness.grad.abs().sum(1) > 0).sum() <= 2
    assert sorted(losses) == ["loss_activity", "loss_completeness"]


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


def model(**settings: object) -> SSN:
    return SSN(Mean(), SSNHead(in_channels=3, num_classes=2, init_std=0.3), **settings).eval()


def whole_video(length: int, segments: list[list[float]]) -> Sample:
    inputs = np.random.default_rng(length).integers(0, 255, (length, 3, 4, 4), np.uint8)
    sample = Sample(total_frames=length, duration=length / 10, proposals=Segments(np.array(segments)))
    sampled = SampleProposalFrames(test_mode=True, test_interval=1)(sample, np.random.default_rng(0))
    return sampled.with_inputs(imgs=inputs)


def detections(network: SSN, samples: list[Sample]) -> list[Sample]:
    step = network.sample_step()
    batch = network.preprocess(collate([step(sample, np.random.default_rng(0)) for sample in samples]))
    return network.predict(network(batch.inputs), batch)


def test_detections_do_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = model(max_testing_views=7)
    samples = [whole_video(30, [[0.5, 1.5], [2.0, 2.9]]), whole_video(50, [[0.0, 5.0], [1.0, 2.0], [4.0, 5.0]])]
    for together, sample in zip(detections(network, samples), samples, strict=True):
        (alone,) = detections(network, [sample])
        np.testing.assert_allclose(together.segments.spans, alone.segments.spans)
        np.testing.assert_allclose(together.segments.scores, alone.segments.scores, rtol=1e-5)
        assert together.segments.labels.tolist() == alone.segments.labels.tolist()
        assert (np.diff(together.segments.scores) <= 0).all()


def test_segments_move_by_the_regression_of_their_class() -> None:
    network = model(reg_normalize_constants=((0.1, 0.0), (0.5, 2.0)))
    for layer in (network.cls_head.activity_fc, network.cls_head.completeness_fc, network.cls_head.regressor_fc):
        nn.init.zeros_(layer.weight)
    network.cls_head.regressor_fc.bias.data = torch.tensor([0.0, 0.0, 0.2, np.log(2) / 2])
    (found,) = detections(network, [whole_video(100, [[4.0, 6.0]])])
    by_class = dict(zip(found.segments.labels.tolist(), found.segments.spans.tolist(), strict=True))
    assert by_class[0] == pytest.approx([4.2, 6.2])  # 0.1 lengths later
    assert by_class[1] == pytest.approx([3.4, 7.4])  # 0.2 lengths later, twice as long
    np.testing.assert_allclose(found.segments.scores, 1 / 3)


def test_a_video_without_proposals_has_no_detections() -> None:
    sample = whole_video(20, [[0.0, 1.0]])
    none = sample.extra["stages"].select(slice(0))
    (found,) = detections(model(), [sample.replace(proposals=Segments(np.zeros((0, 2)))).with_extra(stages=none)])
    assert found.segments.spans.shape == (0, 2)
    assert found.segments.labels.shape == (0,)


class Halved(Preprocessor):
    """Halves its input, and records the number of frames of each call."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[int] = []

    def normalise(self, inputs: Tensor) -> Tensor:
        assert inputs.dtype == torch.uint8
        self.given.append(inputs.shape[1])
        return inputs.float() / 2


def test_frames_of_a_whole_video_are_normalised_in_chunks() -> None:
    torch.manual_seed(0)
    network, video = model(max_testing_views=16), whole_video(50, [[0.5, 1.5], [2.0, 2.9]])
    (plain,) = detections(network, [video])
    network.data_preprocessor = Halved()
    for layer in (network.cls_head.activity_fc, network.cls_head.completeness_fc, network.cls_head.regressor_fc):
        layer.weight.data *= 2
    (halved,) = detections(network, [video])
    assert network.data_preprocessor.given == [16, 16, 16, 2]
    np.testing.assert_allclose(halved.segments.scores, plain.segments.scores, rtol=1e-5)


@pytest.fixture
def flow(tmp_path: Path) -> SSNDataset:
    """A folder of 20 flow images: x of image i is 5 i everywhere, y is 5 i + 2."""
    (tmp_path / "a").mkdir()
    for i in range(20):
        for name, value in (("x", 5 * i), ("y", 5 * i + 2)):
            cv2.imwrite(str(tmp_path / "a" / f"flow_{name}_{i + 1:05}.jpg"), np.full((16, 16), value, np.uint8))
    (tmp_path / "list.txt").write_text("# 0\na\n20\n1\n1\n1 4 10\n2\n1 0 0 4 9\n1 0 0 12 18\n")
    return SSNDataset(tmp_path / "list.txt", tmp_path, modality="Flow", filename_tmpl="flow_{}_{:05}.jpg")


@pytest.mark.parametrize("crop", [CenterCrop(16), TenCrop(16)])
def test_flow_and_ten_crops(flow: SSNDataset, crop: CenterCrop | TenCrop) -> None:
    torch.manual_seed(0)
    network = SSN(Mean(), SSNHead(in_channels=4, num_classes=2, init_std=0.01)).eval()
    rng = np.random.default_rng(0)
    sample = SampleProposalFrames(test_mode=True, test_interval=6, clip_len=2)(OpenVideo()(flow[0], rng), rng)
    sample = FormatShape("NCHW")(crop(Decode()(sample, rng), rng), rng)
    batch = network.preprocess(collate([network.sample_step()(sample, rng)]))
    frames = network.features(batch.inputs).unflatten(1, (-1, 4))[0]  # of every crop
    first = torch.arange(0, 20, 6)[:, None] * 5 + torch.tensor([0, 2, 5, 7])
    mirrored = first + (255 - 2 * first) * torch.tensor([1, 0, 1, 0])  # x changes its sign
    expected = torch.stack([first, mirrored] * 5)[: len(frames)]
    assert len(frames) == sample.num_crops
    assert (frames - expected).abs().max() < 3
    (found,) = network.predict(network(batch.inputs), batch)
    assert len(found.segments)


def test_wrong_numbers_of_frames_are_refused() -> None:
    with pytest.raises(UserError, match=r"a proposal has 13 segments, but num_segments of SSNHead is \(2, 5, 2\)"):
        SSNHead(in_channels=3)(torch.zeros(1, 13, 3), torch.ones(1, 2))
    video = whole_video(20, [[0.5, 1.5]])
    with pytest.raises(UserError, match="SSN got 40 frames of a video, not 20: only flow has a clip_len above 1"):
        detections(model(), [video.with_inputs(imgs=video.inputs["imgs"].repeat(2, 0))])
