"""Sampling of proposals and of the frames of their stages."""

from __future__ import annotations

import numpy as np
import pytest

from vid_localization.overlaps import regression_targets
from vid_localization.transforms.structured import SampleProposalFrames, SampleProposals
from vidcore.errors import DataError
from vidcore.records import Segments
from vidcore.sample import Sample

SAMPLE = Sample(
    duration=100.0,
    total_frames=1000,
    segments=Segments(np.array([[20.0, 40.0], [60.0, 80.0]]), np.array([1, 0])),
    proposals=Segments(
        np.array([[21.0, 40.0], [25.0, 30.0], [62.0, 66.0], [0.0, 10.0], [0.0, 0.5], [30.0, 70.0]]), scores=np.ones(6)
    ),
)


def test_proposals_of_every_kind() -> None:
    seen: set[tuple[int, int, float]] = set()
    for seed in range(20):
        found = SampleProposals()(SAMPLE, np.random.default_rng(seed))
        assert found.targets["proposal_types"].tolist() == [0, *[1] * 6, 2]
        kinds = found.targets["proposal_types"].tolist()
        labels = found.targets["proposal_labels"].tolist()
        seen |= set(zip(kinds, labels, found.proposals.spans[:, 0].tolist(), strict=True))
        targets = found.targets["regression_targets"]
        assert not targets[1:].any()
        assert found.proposals.scores is None, "the drawn proposals are not the listed ones"
    assert seen == {(0, 2, 20.0), (0, 2, 21.0), (0, 1, 60.0), (1, 2, 25.0), (1, 1, 62.0), (2, 0, 0.0)}


def test_missing_kinds_of_proposals_are_drawn_at_random() -> None:
    bare = SAMPLE.replace(proposals=Segments(np.zeros((0, 2))))
    found = SampleProposals()(bare, np.random.default_rng(0))
    background, cut = found.proposals.spans[7], found.proposals.spans[1:7]
    assert all(max(background[0], a) >= min(background[1], b) for a, b in SAMPLE.segments.spans)
    inside = [(a >= 20 and b <= 40) or (a >= 60 and b <= 80) for a, b in cut]
    assert all(inside)
    assert (np.diff(cut) <= 0.3 * 20 + 1e-9).all()
    whole = bare.replace(segments=Segments(np.array([[0.0, 100.0]]), np.array([0])))
    with pytest.raises(DataError, match="no background"):
        SampleProposals()(whole, np.random.default_rng(0))


def test_regression_targets_invert_to_the_segments() -> None:
    proposals, truth = np.array([[10.0, 20.0], [0.0, 4.0]]), np.array([[12.0, 19.0], [1.0, 9.0]])
    shift, growth = regression_targets(proposals, truth).T
    lengths = np.diff(proposals)[:, 0]
    centres, half = proposals.mean(1) + shift * lengths, lengths * np.exp(growth) / 2
    np.testing.assert_allclose(np.stack((centres - half, centres + half), 1), truth)


def test_frames_lie_within_their_stages() -> None:
    sample = SAMPLE.replace(proposals=Segments(np.array([[20.0, 40.0], [5.0, 25.0]])), start_index=1)
    for seed in range(10):
        found = SampleProposalFrames()(sample, np.random.default_rng(seed))
        frames = found.clip.indices.reshape(2, 9) - 1
        assert (np.diff(frames) > 0).all()
        assert ((frames[0, :2] >= 100) & (frames[0, :2] < 200)).all()
        assert ((frames[0, 2:7] >= 200) & (frames[0, 2:7] < 400)).all()
        assert ((frames[0, 7:] >= 400) & (frames[0, 7:] < 500)).all()
    np.testing.assert_allclose(found.inputs["scales"], [[1, 1], [0.5, 1]])


def test_whole_videos_are_sampled_at_equal_distances() -> None:
    found = SampleProposalFrames(test_mode=True, test_interval=10)(SAMPLE, np.random.default_rng(0))
    assert found.clip.indices.tolist() == list(range(0, 1000, 10))
    assert found.clip.count == found.extra["stages"].frame_count == 100
    assert found.extra["stages"].ticks[3].tolist() == [0, 0, 10, 15]
    assert found.extra["stages"].ticks[5].tolist() == [10, 30, 70, 90]
    np.testing.assert_allclose(found.extra["stages"].scales[3], [0, 1])
