"""PoseDataset over the documented file."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from vid_skeleton.datasets.pose import PoseDataset
from vid_skeleton.files import Track, skeleton_writer
from vidcore.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "s.npz"
    with skeleton_writer(path, ["head", "foot"], [(1, 0)], class_names=["run", "rest"]) as writer:
        points = np.arange(12, dtype=np.float32).reshape(3, 2, 2) + 1
        points[1, 0] = np.nan
        writer.add("one", 5, [Track(1, points), Track(0, points[:1] + 50)], (90, 160), 25.0, 1)
        writer.add("two", 3, [Track(0, points)], (90, 160), None, 0)
        writer.add("three", 3, [Track(0, points)], (90, 160))
        writer.splits.update(train=[1, 0], rest=[2], nobody=[])
    return path


def test_samples_have_all_people_in_all_frames(file: Path) -> None:
    data = PoseDataset(file, "train")
    assert len(data) == 2 and data.class_names == ("run", "rest") and data.num_classes == 2
    assert list(data.labels) == [0, 1]
    sample = data[1]
    assert (sample.key, sample.label, sample.total_frames, sample.fps, sample.index) == ("one", 1, 5, 25.0, 1)
    assert sample.geometry.size == (90, 160)
    points, scores = sample.joints.points, sample.joints.scores
    assert points.shape == (2, 5, 2, 2) and points.dtype == scores.dtype == np.float32
    assert points[0, 1:4, 1].tolist() == [[3, 4], [7, 8], [11, 12]]
    assert not points[0, 2, 0].any() and scores[0, 2, 0] == 0, "missing joints are zeros"
    assert scores[:, :, 1].tolist() == [[0, 1, 1, 1, 0], [1, 0, 0, 0, 0]]
    assert PoseDataset(file)[2].label is None
    assert PoseDataset(file)[1].fps is None


def test_workers_map_the_file_themselves(file: Path) -> None:
    data = PoseDataset(file, "train")
    sent = pickle.dumps(data)
    assert b"points" not in sent and len(sent) < 2000
    again = pickle.loads(sent)
    assert np.array_equal(again[1].joints.points, data[1].joints.points)
    assert again.fingerprint() == data.fingerprint() != PoseDataset(file).fingerprint()


def test_splits_and_classes_are_checked(file: Path) -> None:
    with pytest.raises(DataError, match=r"has no split 'trian', it has train, rest, nobody; did you mean 'train'"):
        PoseDataset(file, "trian")
    with pytest.raises(DataError, match="the split 'nobody' is empty"):
        PoseDataset(file, "nobody")
    with pytest.raises(DataError, match="has the class number 1, but there are 1 classes"):
        PoseDataset(file, classes=["run"])
