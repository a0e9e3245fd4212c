"""Skeletons on frames: sides in two colours, missing joints left out, labels beside bodies."""

from __future__ import annotations

import numpy as np

from vid_skeleton.drawer import LEFT, RIGHT, SkeletonDrawer
from vidcore.persons import Persons, PersonScores
from vidcore.sample import Sample
from vidcore.tools.draw import rgb
from vidcore.tools.drawers import Canvas
from vidcore.typing import Array

SIZE = (240, 320)


def sample(left: Array) -> Sample:
    """Return a person whose left joints are in a column at x = 100, and the right ones at x = 200."""
    points = np.zeros((2, 17, 2), np.float32)
    points[:, :, 1] = np.linspace(80, 220, 17)
    points[:, :, 0] = 200
    points[:, 1::2, 0] = left
    boxes = np.tile(np.array([[90, 80, 210, 220]], np.float32), (2, 1))
    scores = PersonScores(
        np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([[1], [0]]), np.array([[0.9], [0.8]]), tracks=np.array([1, 1])
    )
    persons = Persons(
        boxes,
        np.ones(2, np.float32),
        points,
        np.ones((2, 17), np.float32),
        np.ones(2, np.int64),
        np.array([5, 10]),
        np.array([0.5, 1.0]),
    )
    made = Sample(path="a.mp4", fps=10.0, class_names=("run", "jump"), meta={"layout": "coco"})
    return made.with_extra(persons=persons, person_scores=scores)


def drawn(one: Sample, time: float) -> Array:
    canvas = Canvas(SIZE)
    drawer = SkeletonDrawer(one, canvas)
    canvas.begin_frame()
    return drawer.draw(np.zeros((*SIZE, 3), np.uint8), time)


def shows(image: Array, colour: str) -> bool:
    return bool((np.abs(image - 255 * rgb(colour)) < 3).all(-1).any())


def test_sides_have_two_colours_and_missing_joints_are_left_out() -> None:
    whole = drawn(sample(np.float32(100)), 0.5)
    assert shows(whole[80:], LEFT) and shows(whole[80:], RIGHT)
    half = drawn(sample(np.float32(np.nan)), 0.5)
    assert not shows(half[80:], LEFT) and shows(half[80:], RIGHT)
    assert not half[:20, :60].any(), "nothing is drawn in the corner"


def test_labels_follow_windows_and_stay_off_the_body() -> None:
    first, second = (drawn(sample(np.float32(100)), time) for time in (0.5, 1.0))
    assert (first != second).any() and (first[80:220] == second[80:220]).all(), "only the label differs"


def test_nobody_is_drawn_in_frames_without_persons() -> None:
    for time in (0.0, 0.8, 1.5):
        assert not drawn(sample(np.float32(100)), time).any()


def test_only_known_layouts_can_be_drawn() -> None:
    good = sample(np.float32(100))
    assert SkeletonDrawer.can_draw(good)
    assert not SkeletonDrawer.can_draw(good.replace(meta={"layout": "nturgb+d"}))
    assert not SkeletonDrawer.can_draw(good.replace(meta={}))
