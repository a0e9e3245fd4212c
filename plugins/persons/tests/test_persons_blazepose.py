"""BlazePose on made-up networks; ``packages/skeleton/tests`` has the proof on real weights."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from vid_persons.blazepose import COCO, BlazeDetector, BlazePose, refined
from vid_persons.boxes import letterbox, warp
from vidcore.errors import PluginError, UserError
from vidcore.typing import Array


class Fakes:
    """Two networks that know where persons are: the first one sees those at the beginning only."""

    def __init__(self) -> None:
        self.centres = [(300.0, 200.0), (420.0, 200.0)]
        self.detected = 0

    def detection(self, image: Array) -> list[Array]:
        """Find persons in a letterboxed frame of 640 x 480."""
        boxes, logits = np.zeros((2254, 12), np.float32), np.full((2254, 1), -50, np.float32)
        self.detected += 1
        assert image.shape == (224, 224, 3) and image.min() >= -1 and image.max() <= 1
        if self.detected > 1:
            return [boxes[None], logits[None]]
        for anchor, (x, y) in enumerate(self.centres):  # the first cell's middle is (4, 4)
            at = np.array([x, y + 80]) * 224 / 640 - 4
            boxes[anchor, :2], boxes[anchor, 2:4] = at - [0, 32], 8
            boxes[anchor, 4:6], boxes[anchor, 6:8] = at, at - [0, 35]
            logits[anchor] = 3 - anchor
        return [boxes[None], logits[None]]

    def landmarks(self, crop: Array) -> list[Array]:
        """Find the person whose bright point is nearest to the middle."""
        rows = np.zeros((39, 5), np.float32)
        ys, xs = np.nonzero(crop[..., 0] > 0.5)
        seen = len(xs) > 0
        near = np.hypot(xs - 128, ys - 128).argmin() if seen else 0
        middle = np.array([xs[near], ys[near]]) if seen else np.zeros(2)
        rows[:, :2] = middle
        rows[:33, 1] += np.linspace(-60, 60, 33)
        rows[34, 1] -= 102.4
        rows[:, 3] = 2
        score = np.array([[0.9 if seen else 0.1]], np.float32)
        return [rows.reshape(1, 195), score, np.zeros((1, 256, 256, 1), np.float32), np.zeros((1, 117), np.float32)]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fakes:
    made = Fakes()
    networks = {b"d": made.detection, b"l": made.landmarks}
    (tmp_path / "pose_detection.tflite").write_bytes(b"d")
    (tmp_path / "pose_landmark_full.tflite").write_bytes(b"l")
    monkeypatch.setattr("vid_persons.blazepose._network", lambda _, __, content, *___: networks[content])
    return made


def frame(centres: list[tuple[float, float]]) -> Array:
    image = np.zeros((480, 640, 3), np.uint8)
    for x, y in centres:
        image[int(y) - 4 : int(y) + 4, int(x) - 4 : int(x) + 4] = 255
    return image


def test_persons_are_followed_where_the_detector_fails(fakes: Fakes, tmp_path: Path) -> None:
    estimator = BlazePose(tmp_path)
    for t in range(20):
        centres = [(300.0 - 3 * t, 200.0), (420.0 + 3 * t, 200.0 + t)]
        (found,) = estimator(frame(centres)[None])
        assert len(found) == 2 and found.points is not None and found.points.shape == (2, 17, 2)
        middles = found.points.mean(1)
        nearest = [np.hypot(*(middles - centre).T).min() for centre in centres]
        assert max(nearest) < 25
    (nobody,) = estimator(frame([])[None])
    assert len(nobody) == 0 and nobody.points is not None and nobody.points.shape == (0, 17, 2)
    (gone,) = estimator(frame([(300, 200)])[None])
    assert len(gone) == 0, "nobody is followed after a frame without persons"


def test_a_new_video_forgets_the_persons(fakes: Fakes, tmp_path: Path) -> None:
    estimator = BlazePose(tmp_path)
    assert len(estimator(frame(fakes.centres)[None])[0]) == 2
    estimator.begin()
    assert len(estimator(frame(fakes.centres)[None])[0]) == 0


def test_the_detector_returns_boxes_of_bodies(fakes: Fakes, tmp_path: Path) -> None:
    (found,) = BlazeDetector(tmp_path)(frame([])[None])
    assert found.boxes.round().tolist() == [[200, 100, 400, 300], [320, 100, 520, 300]]
    assert found.scores[0] > found.scores[1] > 0.8


def test_both_kinds_of_weights(fakes: Fakes, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "full.task", "w") as archive:
        archive.writestr("pose_detector.tflite", b"d")
        archive.writestr("pose_landmarks_detector.tflite", b"l")
    BlazePose(tmp_path / "full.task")
    BlazeDetector(tmp_path / "pose_detection.tflite")
    with pytest.raises(UserError, match=r"has no \.tflite file of the landmarks network"):
        BlazePose(tmp_path / "pose_detection.tflite")
    with pytest.raises(UserError, match=r"BlazePose: weights .*none do not exist; give a folder with pose_detection"):
        BlazePose(tmp_path / "none")
    (tmp_path / "broken.task").write_bytes(b"not an archive")
    with pytest.raises(UserError, match=r"broken\.task cannot be read"):
        BlazePose(tmp_path / "broken.task")


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pose_detection.tflite").write_bytes(b"d")
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(PluginError, match=r"BlazeDetector needs LiteRT: pip install 'vid-persons\[litert\]'"):
        BlazeDetector(tmp_path)


def test_left_stays_left() -> None:
    """Odd joints of COCO are the person's left, as are odd points of BlazePose from 7 on; 2 is the left eye."""
    assert COCO[1:3] == (2, 5) and all(point % 2 == joint % 2 for joint, point in enumerate(COCO) if joint > 2)


def test_parts_of_frames_keep_places() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    image[40:50, 120:130] = 255
    small, factor, corner = letterbox(image, (50, 50), fill=7, centred=True)
    ys, xs = np.nonzero(small[..., 0] > 100)
    assert np.allclose((np.array([xs.mean(), ys.mean()]) + 0.5 - corner) / factor, [125, 45], atol=2)
    assert (small[0] == 7).all()
    part = warp(image, np.array([[0, -0.5, 140], [0.5, 0, 30]]), (60, 60))  # a quarter turn, twice as large
    ys, xs = np.nonzero(part[..., 0] > 100)
    assert np.allclose([140 - 0.5 * (ys.mean() + 0.5), 30 + 0.5 * (xs.mean() + 0.5)], [125, 45], atol=0.6)


def test_heat_maps_refine_points_that_are_near() -> None:
    maps = np.zeros((64, 64, 3))
    maps[20:22, 30, :2] = 0.9  # the middle of cells 20 and 21 is at 84 pixels
    maps[20, 30, 2] = 0.4
    places = np.array([[118.0, 90.0], [200.0, 90.0], [118.0, 90.0]])
    assert refined(places, maps).tolist() == [[122, 84], [200, 90], [118, 90]], "the second is far, the third doubtful"
    assert refined(np.array([[-300.0, 900.0]]), maps[..., :1]).tolist() == [[-300, 900]]
