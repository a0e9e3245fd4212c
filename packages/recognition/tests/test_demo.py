"""The videos of the demo: readable, reproducible, and classified by motion alone."""

from __future__ import annotations

import csv
import tomllib
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from vid_recognition.demo import LENGTH, recognition, render_video
from vidcore.cli import run
from vidcore.errors import UserError
from vidcore.video.open import open_video
from vidcore.video.synthetic import MOTIONS, SIZE

LABELS = tuple(MOTIONS)


def demo(folder: Path, *options: str) -> str:
    done = CliRunner().invoke(recognition, [str(folder), *options], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def clips(start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return ``count`` videos per class: (N, LENGTH, SIZE, SIZE, 3) uint8, and their class numbers (N,)."""
    videos, labels = [], []
    for number in range(start, start + count * len(LABELS)):
        videos.append(np.stack(list(render_video(LABELS[number % len(LABELS)], 0, number))))
        labels.append(number % len(LABELS))
    return np.stack(videos), np.array(labels)


def test_the_middle_frame_is_the_same_for_every_class() -> None:
    for number in range(4):
        middle = [list(render_video(label, 3, number))[LENGTH // 2] for label in LABELS]
        assert all(np.array_equal(middle[0], frame) for frame in middle)


def test_a_classifier_of_single_frames_stays_at_chance() -> None:
    train, train_labels = clips(0, 24)
    test, test_labels = clips(1000, 12)

    def features(videos: np.ndarray, moment: int) -> np.ndarray:
        # spatial frequencies do not depend on position, pixels do
        small = np.stack([cv2.resize(v[moment], (16, 16), interpolation=cv2.INTER_AREA)[..., 0] for v in videos])
        waves = np.abs(np.fft.fft2(small - small.mean((1, 2), keepdims=True)))
        return np.concatenate([small.reshape(len(small), -1), waves.reshape(len(small), -1)], 1).astype(np.float64)

    hits = []
    for moment in (0, LENGTH // 2, LENGTH - 1):
        known, asked = features(train, moment), features(test, moment)
        known, asked = ((x - known.mean(0)) / (known.std(0) + 1e-3) for x in (known, asked))
        weights = known.T @ np.linalg.solve(known @ known.T + 300 * np.eye(len(known)), np.eye(8)[train_labels])
        nearest = ((asked[:, None] - known[None]) ** 2).sum(2).argmin(1)
        hits += [(asked @ weights).argmax(1) == test_labels, train_labels[nearest] == test_labels]
    assert np.mean(hits) < 0.2  # chance is 0.125


def test_a_motion_rule_finds_the_class() -> None:
    videos, labels = clips(2000, 4)
    assert np.mean([seen_motion(video) == label for video, label in zip(videos, labels, strict=True)]) > 0.9


def seen_motion(video: np.ndarray) -> int:
    """Return the class by rule: how position, angle and size of the ellipse change from frame to frame."""
    rates = []
    for before, after in pairwise(video):
        (x0, y0, axis0, size0), (x1, y1, axis1, size1) = ellipse(before), ellipse(after)
        half = SIZE / 2
        turned = np.angle(axis1 / axis0)
        moved = [(b - a + half) % SIZE - half for a, b in ((x0, x1), (y0, y1))]
        rates.append([moved[0] / 2.5, moved[1] / 2.5, turned / 0.17, np.log(size1 / size0) / 0.08])
    right, down, turn, grow = np.median(rates, axis=0)
    return int(np.argmax([-right, right, -down, down, turn, -turn, grow, -grow]))


def ellipse(frame: np.ndarray) -> tuple[float, float, complex, float]:
    """Return centre, direction (towards the brighter half) and area of the coloured ellipse, on a cyclic image."""
    weight = np.clip(frame[..., 0].astype(float) - frame[..., 2] - 20, 0, None)
    wave = np.exp(2j * np.pi * np.arange(SIZE) / SIZE)
    x, y = (np.angle((weight.sum(axis) * wave).sum()) % (2 * np.pi) * SIZE / (2 * np.pi) for axis in (0, 1))
    middle = [SIZE // 2 - round(y), SIZE // 2 - round(x)]
    inside = np.roll(weight > 10, middle, (0, 1))
    bright = np.roll(weight > 1.3 * np.median(weight[weight > 10]), middle, (0, 1))
    rows, columns = np.mgrid[:SIZE, :SIZE]
    towards = [axis[bright].mean() - axis[inside].mean() if bright.any() else 0.0 for axis in (columns, rows)]
    rows, columns = rows - rows[inside].mean(), columns - columns[inside].mean()
    spread = np.angle(((columns + 1j * rows)[inside] ** 2).sum()) / 2
    axis = np.exp(1j * spread)
    return x, y, axis if (np.conj(axis) * complex(*towards)).real >= 0 else -axis, float(inside.sum())


def test_files_it_writes(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    output = demo(folder, "--videos-per-class", "5")
    assert output.splitlines()[-1] == f"Next: vidcore run '{folder}/task.toml'"
    assert (folder / "classes.txt").read_text().split() == list(LABELS)
    listed = {}
    for part, each in (("train", 4), ("val", 1)):
        with (folder / f"{part}.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert sorted(row["label"] for row in rows) == sorted(LABELS * each)
        listed |= {row["path"]: row["label"] for row in rows}
    assert sorted(listed) == sorted(path.name for path in (folder / "videos").iterdir())
    assert any(" " in name for name in listed)
    for name in list(listed)[::9]:
        with open_video(str(folder / "videos" / name)) as video:
            assert (len(video), video.size, video.fps) == (LENGTH, (SIZE, SIZE), 16)
            frames = video.read(range(LENGTH)).astype(int)
        number = [f"{label}{' ' if n == 0 else '_'}{n:03}.mp4" for n in range(5) for label in LABELS].index(name)
        assert np.abs(frames - np.stack(list(render_video(listed[name], 0, number)))).mean() < 5


def test_the_task_is_valid(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo(tmp_path, "--videos-per-class", "2")
    code = run(["check", str(tmp_path / "task.toml")])
    assert (code, capsys.readouterr().out) == (0, "task: fine\n")
    task = tomllib.loads((tmp_path / "task.toml").read_text())
    assert task["model"]["cls_head"]["num_classes"] == len(LABELS)
    assert len((tmp_path / "task.toml").read_text().splitlines()) < 100


def test_the_same_seed_gives_the_same_files(tmp_path: Path) -> None:
    written = {}
    for name, seed in (("a", "4"), ("b", "4"), ("c", "5")):
        demo(tmp_path / name, "--videos-per-class", "2", "--seed", seed)
        written[name] = {p.name: p.read_bytes() for p in (tmp_path / name / "videos").iterdir()}
    assert written["a"] == written["b"]
    assert all(written["a"][name] != written["c"][name] for name in written["a"])


def test_nothing_is_overwritten_without_force(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(UserError, match=r"not empty.*--force"):
        demo(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    demo(tmp_path, "--videos-per-class", "2", "--force")
    assert (tmp_path / "mine.txt").read_text() == "kept"
    assert (tmp_path / "task.toml").exists()
