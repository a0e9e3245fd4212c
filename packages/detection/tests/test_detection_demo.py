"""``vidcore demo detection``: what it writes; its training is run by hand, since it takes minutes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_detection.ava import read_table
from vid_detection.datasets.boxes import VideoBoxDataset
from vid_detection.demo import ACTIONS, CHANGE, FIGURES, FPS, HEIGHT, KEY_TIMES, SECONDS, WIDTH, Figure
from vid_detection.results import write_ava
from vidcore.cli import run
from vidcore.errors import DataError
from vidcore.persons import Persons, PersonScores
from vidcore.sample import Sample
from vidcore.video.open import open_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "demo"
    assert run(["demo", "detection", str(folder), "--videos", "2"]) == 0
    return folder


def test_the_demo_writes_videos_boxes_and_a_task_that_is_valid(folder: Path) -> None:
    assert run(["check", str(folder / "task.toml")]) == 0
    for part in ("train", "val"):
        data = VideoBoxDataset(folder / f"{part}.csv", folder / "videos", classes=folder / "classes.txt")
        assert len(data) == len(KEY_TIMES) and data.class_names == ACTIONS
        assert all(sample.boxes is not None and len(sample.boxes) == FIGURES for sample in data)
    for file, size in (("videos/figures_000.mp4", (HEIGHT, WIDTH)), ("annotated.mp4", (2 * HEIGHT, 2 * WIDTH))):
        with open_video(folder / file) as video:
            assert (len(video), video.size, video.fps) == (SECONDS * FPS, size, FPS)


def test_boxes_surround_the_figures(folder: Path) -> None:
    with (folder / "val.csv").open() as file, open_video(folder / "videos" / "figures_000.mp4") as video:
        for row in csv.DictReader(file):
            (frame,) = video.read([int(float(row["time"]) * FPS)])
            left, top, right, bottom = (round(float(row[name])) for name in ("x1", "y1", "x2", "y2"))
            colourful = np.ptp(frame.astype(int), axis=-1) > 80
            inside = colourful[top:bottom, left:right]
            around = colourful[max(top - 4, 0) : bottom + 4, max(left - 4, 0) : right + 4]
            assert inside.mean() > 0.5 and around.sum() - inside.sum() < 40


def test_a_detector_without_weights_finds_the_figures(folder: Path) -> None:
    pytest.importorskip("vid_persons")
    assert run(["check", str(folder / "found.toml")]) == 0
    data = VideoBoxDataset(
        folder / "val.csv", folder / "videos", proposal_file=folder / "found.csv", missing_proposals="none"
    )
    found = sum(0 if sample.proposals is None else len(sample.proposals) for sample in data)
    assert abs(found - FIGURES * len(KEY_TIMES)) <= 3


def test_actions_differ_over_time_only() -> None:
    def path(action: str) -> Any:
        figure = Figure(10, (50, 50), 20, 1, 0, (1, 2, 3), (action, "swinging"))
        return np.array([figure.place(time) for time in np.arange(0, 1, 1 / 8)])

    right, down = (path(action) - 50 for action in ("swinging", "bouncing"))
    assert np.abs(right[:, 1]).max() == 0 and np.ptp(right[:, 0]) == 40
    np.testing.assert_allclose(right[:, ::-1], down)
    one, other = (path(action) - 50 for action in ACTIONS[2:])
    np.testing.assert_allclose(one, np.roll(other[::-1], 1, 0), atol=1e-9)
    assert all(abs(time - CHANGE) >= 0.5 for time in KEY_TIMES), "a clip shows one action"


def test_actions_of_persons_are_written_in_ava_s_format(tmp_path: Path) -> None:
    spans = np.array([[0, 1], [1, 2]])
    scores = PersonScores(
        spans,
        np.array([[1, 0], [0, 1]]),
        np.array([[0.9, 0.25], [0.5, 0.125]]),
        tracks=np.array([1, 1]),
        boxes=np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 1, 1]]),
    )
    persons = Persons.nobody()
    one = Sample(path="clips/a.mp4", class_names=("walk", "talk to (e.g., self, a person, a group)"))
    one = one.with_extra(persons=persons, person_scores=scores)
    nobody = Sample(path="clips/b.mp4").with_extra(persons=persons)
    write_ava(tmp_path / "a.csv", [one, nobody])
    table = read_table(tmp_path / "a.csv", last="score")
    assert table.keys == (("a", 0.5), ("a", 1.5)) and table.actions.tolist() == [79, 14, 14, 79]
    assert table.last.tolist() == [0.9, 0.25, 0.5, 0.125] and table.boxes[0].tolist() == [0.1, 0.2, 0.3, 0.4]
    write_ava(tmp_path / "own.csv", [one.replace(class_names=("run away", "hide"))])
    assert read_table(tmp_path / "own.csv", last="score").actions.tolist() == [2, 1, 1, 2]
    with pytest.raises(DataError, match="two videos are named 'a'"):
        write_ava(tmp_path / "a.csv", [one, one])
    with pytest.raises(DataError, match="predicts no actions of boxes"):
        write_ava(tmp_path / "a.csv", [Sample(path="a.mp4")])
