"""Persons who move, meet, leave and come keep their identities, and no identity is used twice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vid_persons.tracking import IoUTracker
from vidcore.persons import Persons
from vidcore.typing import Array


def frame(*persons: Sequence[float]) -> Persons:
    """Return persons of 40 x 100 pixels; each is given by its left edge and, optionally, its score."""
    boxes = np.array([(p[0], 50, p[0] + 40, 150) for p in persons], np.float32).reshape(-1, 4)
    return Persons(boxes, np.array([p[1] if len(p) > 1 else 0.9 for p in persons], np.float32))


def lefts(persons: Persons) -> dict[int, float]:
    assert persons.tracks is not None
    return dict(zip(persons.tracks.tolist(), persons.boxes[:, 0].tolist(), strict=True))


def test_the_order_of_persons_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    frames = [frame((10 + 3 * t,), (200 - 3 * t, 0.8), (400,)) for t in range(40)]
    plain, shuffled = IoUTracker(), IoUTracker()
    for persons in frames:
        order: Array = rng.permutation(3)
        assert lefts(plain(persons)) == lefts(shuffled(persons.select(order)))
    assert lefts(plain(frames[-1])).keys() == {1, 2, 3}


def test_who_stays_keeps_the_identity_and_who_comes_gets_a_new_one() -> None:
    tracker = IoUTracker(patience=3)
    assert lefts(tracker(frame((0,), (200,)))) == {1: 0, 2: 200}
    for _ in range(5):  # the first one leaves
        assert lefts(tracker(frame((200,)))) == {2: 200}
    for _ in range(5):  # another one comes, where the first one was
        assert lefts(tracker(frame((200,), (0,)))) == {2: 200, 3: 0}
    assert lefts(tracker(frame((200,), (0,), (400,)))) == {2: 200, 3: 0, 4: 400}


def test_a_person_who_is_missed_for_some_frames_keeps_the_identity() -> None:
    tracker = IoUTracker(patience=3)
    tracker(frame((0,), (200,)))
    for _ in range(3):
        tracker(frame((200,)))
    assert lefts(tracker(frame((5,), (200,)))) == {1: 5, 2: 200}


def test_frames_without_persons_are_ordinary() -> None:
    tracker = IoUTracker()
    for _ in range(50):
        assert len(tracker(Persons.nobody(17))) == 0
    assert lefts(tracker(frame((0,)))) == {1: 0}
    assert len(tracker(frame())) == 0
    assert lefts(tracker(frame((0,)))) == {1: 0}


def test_the_best_pairs_win_not_the_first() -> None:
    """Greedy matching would give the first track the box that the second one needs."""
    tracker = IoUTracker()
    tracker(frame((100, 0.9), (120, 0.8)))
    assert lefts(tracker(frame((112, 0.9), (128, 0.8)))) == {1: 112, 2: 128}


def test_doubtful_persons_continue_tracks_and_begin_none() -> None:
    tracker = IoUTracker(start_score=0.5)
    assert lefts(tracker(frame((0, 0.9), (200, 0.3)))) == {1: 0}
    assert lefts(tracker(frame((0, 0.2), (200, 0.6)))) == {1: 0, 2: 200}


def test_each_video_begins_with_the_first_identity() -> None:
    tracker = IoUTracker()
    tracker(frame((0,), (200,)))
    tracker.begin()
    assert lefts(tracker(frame((200,)))) == {1: 200}
