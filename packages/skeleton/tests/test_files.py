"""The file of skeletons: what is written is read, and a wrong file is refused by array and video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_skeleton.files import Track, read_skeletons, skeleton_writer
from vid_skeleton.graphs import COCO
from vidcore.errors import AnnotationError, DataError

rng = np.random.default_rng(0)


def a_track(start: int, length: int) -> Track:
    points = rng.uniform(1, 100, (length, 17, 2)).astype(np.float32)
    points[0, 3] = np.nan
    return Track(start, points, rng.uniform(0.1, 1, (length, 17)).astype(np.float32), np.ones((length, 4), np.float32))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "skeletons.npz"
    with skeleton_writer(path, COCO.names, COCO.inward, class_names=("wave", "jump")) as writer:
        writer.add("a.mp4", 5, [a_track(0, 5), a_track(2, 3)], (120, 160), 25.0, 1)
        writer.add("nobody.mp4", 7, [], (120, 160))
        writer.add("ü.mp4", 4, [a_track(1, 2)], (240, 320), 30.0, 0)
        writer.splits["train"] = [0, 2]
    return path


def changed(file: Path, **arrays: Any) -> Path:
    with np.load(file) as held:
        content = dict(held) | arrays
    np.savez(file, **{name: a for name, a in content.items() if a is not None})
    return file


def test_what_is_written_is_read(file: Path) -> None:
    found = read_skeletons(file)
    assert list(found.names) == ["a.mp4", "nobody.mp4", "ü.mp4"]
    assert found.class_names == ("wave", "jump") and found.joint_names == COCO.names
    assert found.labels is not None and found.labels.tolist() == [1, -1, 0]
    assert found.splits["train"].tolist() == [0, 2]
    assert np.isnan(found.fps[1]) and found.sizes[2].tolist() == [240, 320]
    points, scores = found.dense(0)
    assert points.shape == (2, 5, 17, 2) and scores.shape == (2, 5, 17)
    assert not points[1, :2].any() and not scores[1, :2].any(), "before the track begins"
    assert not points[0, 0, 3].any() and scores[0, 0, 3] == 0, "a joint that was not found"
    assert (points[1, 2, 4:] > 0).all()
    assert found.dense(1)[0].shape == (0, 7, 17, 2)


def test_arrays_are_mapped_and_not_loaded(file: Path) -> None:
    assert isinstance(read_skeletons(file).points, np.memmap)


def test_numpy_alone_reads_the_file(file: Path) -> None:
    with np.load(file, allow_pickle=False) as held:
        assert held["points"].shape == (10, 17, 2)
        assert held["track_length"].tolist() == [5, 3, 2]


def test_a_block_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def write_one_name_twice() -> None:
        with skeleton_writer(tmp_path / "x.npz", COCO.names) as writer:
            writer.add("a", 3, [])
            writer.add("a", 3, [])

    with pytest.raises(AnnotationError, match="two samples have the name 'a'"):
        write_one_name_twice()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"points": None}, "has no array 'points'"),
        ({"names": np.array(["a", "b", "a"])}, "two samples have the name 'a'"),
        ({"track_sample": np.array([0, 0, 3])}, "track_sample must be rising numbers from 0 to 2"),
        (
            {"track_start": np.array([0, 4, 1])},
            r"a.mp4: track 1 has 3 frames from frame 4, but the sample has 5 frames",
        ),
        ({"track_length": np.array([5, 3, 1])}, "points have 10 rows, but the tracks 9 frames"),
        ({"labels": np.array([0, 1, 2])}, "labels must be -1 or class numbers from 0 to 1, got 0 to 2"),
        ({"split_train": np.array([0, 3])}, "split_train must be numbers from 0 to 2, got 0 to 3"),
        ({"points": np.zeros((10, 17, 2), int)}, "points has dtype int64"),
        ({"points": np.zeros((10, 17, 4), np.float32)}, "points have shape"),
        ({"format": np.array("other 1")}, "has the format 'other 1'"),
        ({"units": np.array("feet")}, "units is 'feet', expected one of: pixels, metres"),
        ({"frames": np.array([5, 7])}, "frames has 2 entries, expected 3"),
        ({"names": np.array(["a", {}, "c"], object)}, "holds Python objects"),
        ({"names": np.zeros(3, "V0")}, "holds Python objects or nothing"),
        ({"frames": np.array([5, 7, -1])}, "ü.mp4: frames is -1, which must not be negative"),
        ({"split_train": np.array([0, 1, 0])}, "split_train has a.mp4 more than once"),
    ],
)
def test_a_wrong_file_is_refused(file: Path, arrays: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_skeletons(changed(file, **arrays))


@pytest.mark.parametrize(("name", "what"), [("points", "joint"), ("scores", "score")])
def test_a_number_that_is_not_finite_is_named(file: Path, name: str, what: str) -> None:
    with np.load(file) as held:
        numbers = held[name].copy()
    numbers[6, 3] = np.inf
    skeletons = read_skeletons(changed(file, **{name: numbers}))
    skeletons.dense(2)
    with pytest.raises(AnnotationError, match=f"a.mp4: the {what} 3 of person 1 in frame . is not finite"):
        skeletons.dense(0)


def test_a_damaged_file_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DataError, match="is not a file of skeletons"):
        read_skeletons(file)


def test_a_compressed_file_is_refused(file: Path) -> None:
    with np.load(file) as held:
        np.savez_compressed(file, **dict(held))
    with pytest.raises(DataError, match=r"is compressed: write it with numpy\.savez"):
        read_skeletons(file)


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (Track(0, np.zeros((3, 25, 2))), r"a: a track has points of shape \(3, 25, 2\), expected \(3, 17, 2\)"),
        (Track(2, np.zeros((3, 17, 2))), "a: a track has 3 frames from frame 2, the video has 4"),
        (Track(0, np.full((3, 17, 2), np.inf)), "a: a joint is infinite"),
    ],
)
def test_wrong_tracks_are_not_written(tmp_path: Path, track: Track, message: str) -> None:
    with pytest.raises(AnnotationError, match=message), skeleton_writer(tmp_path / "x.npz", COCO.names) as writer:
        writer.add("a", 4, [track])


def test_a_file_without_videos(tmp_path: Path) -> None:
    path = tmp_path / "none.npz"
    with skeleton_writer(path, COCO.names):
        pass
    assert len(read_skeletons(path)) == 0
    with pytest.raises(DataError, match="split_train must be numbers from 0 to -1, got 0 to 0"):
        read_skeletons(changed(path, split_train=np.array([0])))
