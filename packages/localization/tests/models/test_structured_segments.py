"""SSN: the pyramid, the head, its loss, and what detections become of its scores."""

from __future__ import annotations

import pytest
import torch

from vid_localization.models.ssn_head import SSNHead, pyramid_bounds
from vid_localization.models.ssn_loss import BACKGROUND, FOREGROUND, INCOMPLETE, SSNLoss


def test_the_pyramid_has_no_empty_part() -> None:
    bounds = pyramid_bounds(torch.tensor([[0, 2, 7, 9], [3, 3, 4, 4]]), ((1,), (1, 2), (1,)))
    assert bounds[0].tolist() == [[0, 2], [2, 7], [2, 4], [4, 7], [7, 9]]
    assert (bounds[1, :, 1] - bounds[1, :, 0]).min() == 1


@pytest.mark.parametrize("stages", [((1,), (1,), (1,)), ((1,), (1, 2), (1,)), ((2,), (1, 2, 3), (1, 2))])
def test_scores_pooled_last_are_those_of_training(stages: tuple[tuple[int, ...], ...]) -> None:
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


def test_activity_is_not_learned_from_incomplete_proposals() -> None:
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
