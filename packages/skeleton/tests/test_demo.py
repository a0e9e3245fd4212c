"""``vidcore demo skeleton``: what it writes; its training is run by hand, since it takes two minutes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vid_skeleton.demo import CLASSES, TESTING, TRAINING, figure
from vid_skeleton.files import read_skeletons
from vid_skeleton.graphs import COCO


def test_the_demo_writes_skeletons_and_a_task_that_is_valid(tmp_path: Path, vidcore: Callable[..., str]) -> None:
    said = vidcore(tmp_path, "demo", "skeleton", "demo", "--videos-per-class", "5")
    assert "12 figures for training and 3 for testing in demo" in said
    assert "vidcore run demo/task.toml" in said
    written = read_skeletons(tmp_path / "demo" / "skeletons.npz")
    assert written.class_names == CLASSES
    assert {part: written.labels[rows].tolist() for part, rows in written.splits.items()} == {
        "train": [0, 1, 2] * 4,
        "val": [0, 1, 2],
    }
    assert (tmp_path / "demo" / "samples.png").stat().st_size > 10_000
    assert (tmp_path / "demo" / "classes.txt").read_text() == "walking\nwaving\njumping\n"
    vidcore(tmp_path, "check", "demo/task.toml")


def test_the_seed_gives_the_same_figures(tmp_path: Path, vidcore: Callable[..., str]) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        vidcore(tmp_path, "demo", "skeleton", name, "--videos-per-class", "2", "--seed", seed)
    one, same, other = (read_skeletons(tmp_path / name / "skeletons.npz").points for name in "abc")
    assert np.array_equal(one, same, equal_nan=True)
    assert one.shape != other.shape or not np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("label", CLASSES)
def test_figures_are_people_of_one_size_whose_joints_move(label: str) -> None:
    points, scores = figure(label, TRAINING, np.random.default_rng(3))
    assert (scores[np.isnan(points).any(-1)] == 0).all() and (scores[~np.isnan(points).any(-1)] > 0.5).all()
    lengths = [np.nanmedian(np.linalg.norm(points[:, a] - points[:, b], axis=-1)) for a, b in ((11, 13), (13, 15))]
    assert 0.5 < lengths[0] / lengths[1] < 2, "thigh and shin"
    shoulders, hips, feet = (np.nanmean(points[:, [i, i + 1], 1]) for i in (5, 11, 15))
    assert shoulders < hips < feet, "y grows downwards"
    assert np.nanstd(points, axis=0).max() > 0.02 * (feet - shoulders)


def test_testing_figures_are_harder() -> None:
    for name in ("height", "cycles", "turn"):
        (low, high), (lower, higher) = getattr(TRAINING, name), getattr(TESTING, name)
        assert lower < low < high < higher
    assert TESTING.noise > TRAINING.noise and TESTING.missing > TRAINING.missing
    points, _ = figure("waving", TESTING, np.random.default_rng(0))
    assert points.shape[1:] == (COCO.num_node, 2)
    assert 0.02 < np.isnan(points).mean() < 0.12
