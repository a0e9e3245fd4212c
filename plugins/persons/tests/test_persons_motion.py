"""Moving regions, on figures that move before a background."""

from __future__ import annotations

import numpy as np
import pytest

from vid_persons.boxes import overlaps
from vid_persons.motion import MovingRegions
from vidcore.typing import Array

HEIGHT, WIDTH = 120, 200


def scene(rng: np.random.Generator, height: int = HEIGHT, width: int = WIDTH) -> Array:
    """A background of patches with a little noise."""
    patches = rng.integers(40, 200, (height // 10 + 1, width // 10 + 1, 3))
    return np.kron(patches, np.ones((10, 10, 1), np.int64))[:height, :width].astype(np.uint8)


def film(frames: int, pan: float = 0.0) -> tuple[Array, Array]:
    """Two figures, one that swings to the sides and one up and down; the camera pans by pixels a frame."""
    rng = np.random.default_rng(0)
    wide = scene(rng, HEIGHT, WIDTH + 100)
    pictures, boxes = [], []
    for i in range(frames):
        swing = 30 * np.sin(i / 4)
        left = np.array([[40 + swing, 50, 60 + swing, 90], [140, 50 + swing, 160, 72 + swing]]).round().astype(int)
        start = round(pan * i)
        picture = wide[:, start : start + WIDTH].copy()
        for (x1, y1, x2, y2), colour in zip(left, ((250, 30, 30), (20, 20, 20)), strict=True):
            picture[y1:y2, x1:x2] = colour
        noise = rng.normal(0, 3, picture.shape)
        pictures.append(np.clip(picture + noise, 0, 255).astype(np.uint8))
        boxes.append(left)
    return np.stack(pictures), np.stack(boxes)


@pytest.mark.parametrize("pan", [0.0, 0.5])
def test_each_figure_gets_a_box(pan: float) -> None:
    frames, boxes = film(60, pan)
    found = MovingRegions()(frames)
    assert not len(found[0]), "the first frame has no background"
    late = [overlaps(truth, one.boxes) for truth, one in zip(boxes[30:], found[30:], strict=True)]
    share = np.mean([table.max(1) > 0.7 for table in late])
    assert share > 0.9 and np.mean([table.shape[1] == 2 for table in late]) > 0.85
    assert all((one.scores >= 0.5).all() and (one.scores <= 1).all() for one in found)


def test_the_result_does_not_depend_on_how_frames_are_passed() -> None:
    frames, _ = film(40)
    detector = MovingRegions()
    whole = detector(frames)
    detector.begin()
    parts = [one for first in range(0, 40, 7) for one in detector(frames[first : first + 7])]
    assert [one.boxes.tolist() for one in whole] == [one.boxes.tolist() for one in parts]


def test_nothing_moves_in_noise_light_and_cuts() -> None:
    rng = np.random.default_rng(1)
    first, second = scene(rng), scene(rng)
    plain = [np.full((HEIGHT, WIDTH, 3), 90, np.uint8)] * 5
    dimmer = [np.clip(first * 1.0 - i / 2, 0, 255) for i in range(30)]
    shown = [*dimmer, *[second * 1.0] * 20, *plain]
    frames = np.stack([np.clip(one + rng.normal(0, 3, one.shape), 0, 255).astype(np.uint8) for one in shown])
    assert [len(one) for one in MovingRegions()(frames)] == [0] * len(frames)


def test_a_scene_is_forgotten_with_the_video() -> None:
    frames, _ = film(30)
    detector = MovingRegions()
    detector(frames)
    detector.begin()
    assert not len(detector(frames[-1:])[0])


def test_small_frames_and_other_sizes_do_no_harm() -> None:
    frames, _ = film(10)
    detector = MovingRegions()
    assert len(detector(frames)) == 10
    assert [len(one) for one in detector(np.zeros((2, 1, 1, 3), np.uint8))] == [0, 0]
