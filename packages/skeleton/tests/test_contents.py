"""A file of skeletons is checked to the last number, and what it holds is said."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_skeleton.contents import check_contents
from vid_skeleton.files import Track, skeleton_writer
from vid_skeleton.graphs import COCO
from vidcore.errors import AnnotationError, DataError

rng = np.random.default_rng(0)


def write(file: Path) -> dict[str, Any]:
    """Write a file of three videos, and return its arrays."""
    with skeleton_writer(file, COCO.names, COCO.inward, class_names=["sit", "walk", "run"]) as writer:
        for i, name in enumerate(("a", "b", "c")):
            points = rng.uniform(1, 99, (4 + i, 17, 2))
            points[0, :8] = np.nan
            boxes = np.tile([1.0, 2, 3, 4], (4 + i, 1))
            tracks = [Track(i, points, np.full((4 + i, 17), 0.5), boxes)] * (i > 0)
            writer.add(name, 10 * i, tracks, (48, 64) if i else (0, 0), 25.0 if i else None, i - 1 if i else None)
        writer.splits["train"] = [0, 2]
    with np.load(file) as arrays:
        return dict(arrays)


def test_what_is_in_a_file(vidcore: Callable[..., str], tmp_path: Path) -> None:
    write(tmp_path / "a.npz")
    said = vidcore(tmp_path, "data", "check-skeletons", "a.npz")
    assert said.splitlines() == [
        "file      a.npz: fine",
        "videos    3, 1 without persons",
        "frames    0 to 20, 25 per second",
        "people    0 to 1 in a video, 2 tracks",
        "joints    17 (coco), x and y in pixels",
        "missing   8.6% of the joints of the tracks",
        "scores    0.5 to 0.5",
        "sizes     known, 1 unknown",
        "boxes     yes",
        "classes   3, 1 without videos, 1 video each; 1 of 3 videos without a class",
        "splits    train 2",
    ]


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("points", (6, 3, 1), np.inf, r"a.npz: c: track 1, frame 3: points: joint 3 \(left_ear\) has an infinite"),
        ("points", (5, 9, 0), np.nan, r"c: track 1, frame 2: points: joint 9 \(left_wrist\) has NaN in a part"),
        ("scores", (2, 3), np.nan, r"b: track 0, frame 3: scores: joint 3 \(left_ear\) has a score that is not finite"),
        ("boxes", (4, 2), 0, r"b: track 0, frame 5: boxes: \[1.0, 2.0, 0.0, 4.0\] is not left, top, right, bottom"),
        ("fps", 1, 0, "a.npz: b: fps is 0.0, expected above 0, or NaN"),
        ("frames", 0, -1, "a.npz: a: frames is -1, which must not be negative"),
        ("sizes", (1, 1), -5, r"a.npz: b: sizes is \[48 -5\], which must not"),
        ("split_train", 1, 0, "a.npz: split_train has a more than once"),
        ("labels", 1, 3, "labels must be -1 or class numbers from 0 to 2"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, place: Any, value: Any, message: str) -> None:
    arrays = write(tmp_path / "a.npz")
    arrays[name][place] = value
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(AnnotationError, match=message):
        check_contents(tmp_path / "a.npz")


def test_scores_beyond_1_are_said(tmp_path: Path) -> None:
    arrays = write(tmp_path / "a.npz")
    arrays["scores"][2, 5] = 2.5
    np.savez(tmp_path / "a.npz", **arrays)
    assert dict(check_contents(tmp_path / "a.npz"))["scores"] == "0.5 to 2.5; 0 to 1 is expected"


def test_published_pickles_and_files_without_anything(tmp_path: Path) -> None:
    points = rng.uniform(1, 99, (2, 6, 17, 2)).astype(np.float16)
    record = {"frame_dir": "a", "label": 3, "total_frames": 6, "img_shape": (100, 200), "keypoint": points}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps([record]))
    found = dict(check_contents(tmp_path / "a.pkl"))
    assert found["joints"] == "17 without names, x and y in pixels" and found["people"] == "2 in a video, 2 tracks"
    assert found["classes"] == "4 without names, 3 without videos, 1 video each"
    with skeleton_writer(tmp_path / "b.npz", COCO.names):
        pass
    assert dict(check_contents(tmp_path / "b.npz"))["videos"] == "0"
    (tmp_path / "c.npz").write_bytes(b"PK")
    with pytest.raises(DataError, match=r"c\.npz is not a file of skeletons that can be read"):
        check_contents(tmp_path / "c.npz")
