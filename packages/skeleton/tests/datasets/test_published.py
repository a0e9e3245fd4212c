"""Published pickles of skeletons as a dataset: what they hold, and what is refused by record and field."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_skeleton.datasets.pose import PoseDataset
from vid_skeleton.transforms.decoding import DecompressPose
from vidcore.errors import AnnotationError, DataError

rng = np.random.default_rng(0)


def record(name: str, label: int = 0, people: int = 2, frames: int = 6, **changes: Any) -> dict[str, Any]:
    points = rng.uniform(1, 99, (people, frames, 17, 2)).astype(np.float16)
    scores = np.ones((people, frames, 17), np.float16)
    found = {"frame_dir": name, "label": label, "total_frames": frames, "img_shape": (100, 200)}
    found |= {"keypoint": points, "keypoint_score": scores, **changes}
    return {key: value for key, value in found.items() if value is not None}


def written(folder: Path, content: Any) -> Path:
    path = folder / "a.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


def test_records_become_samples(tmp_path: Path) -> None:
    records = [record("a", 3), record("b", 1, people=0), record("c", 0, people=3, frames=4)]
    file = written(tmp_path, {"split": {"train": ["c", "a", "gone"], "val": ["b"]}, "annotations": records})
    dataset = PoseDataset(file, "train")
    assert [s.key for s in dataset] == ["c", "a"] and dataset.labels.tolist() == [0, 3]
    sample = dataset[0]
    assert sample.joints is not None and sample.joints.scores is not None and sample.geometry is not None
    assert np.array_equal(sample.joints.points, records[2]["keypoint"].astype(np.float32))
    assert sample.joints.scores.shape == (3, 4, 17)
    assert sample.geometry.size == (100, 200) and sample.total_frames == 4
    assert dataset.notes() == [f"1 names in the splits of {file} have no record"]
    empty = PoseDataset(file, "val")[0]
    assert empty.joints is not None and empty.joints.points.shape == (0, 6, 17, 2)


def test_a_list_of_records_of_3d_joints(tmp_path: Path) -> None:
    joints = rng.normal(size=(1, 6, 25, 3)).astype(np.float16)
    dataset = PoseDataset(written(tmp_path, [record("a", keypoint=joints, keypoint_score=None, img_shape=None)]))
    assert dataset[0].geometry is None and dataset[0].joints is not None
    assert np.array_equal(dataset[0].joints.points, joints.astype(np.float32))


def test_workers_get_the_records(tmp_path: Path) -> None:
    dataset = pickle.loads(pickle.dumps(PoseDataset(written(tmp_path, [record("a")]))))
    assert dataset[0].key == "a"


def test_joints_of_kinetics_are_read_from_their_files(tmp_path: Path) -> None:
    about = {"keypoint": None, "keypoint_score": None, "raw_file": "k/a.pkl", "valid": {0.5: 4, 0.9: 1}}
    about |= {"frame_inds": np.array([0, 2, 2, 5]), "box_score": np.array([0.9, 0.6, 0.4, 0.8])}
    file = written(tmp_path, [record("a", **about)])
    points = rng.uniform(1, 99, (4, 17, 3)).astype(np.float16)
    (tmp_path / "kp" / "k").mkdir(parents=True)
    (tmp_path / "kp" / "k" / "a.pkl").write_bytes(pickle.dumps({"a": {"keypoint": points}}))

    sample = DecompressPose()(PoseDataset(file, kp_root=tmp_path / "kp")[0], rng)
    assert sample.joints is not None and sample.joints.points.shape == (2, 3, 17, 2)
    assert np.array_equal(sample.joints.points[0, 2], points[3, :, :2].astype(np.float32))
    chosen = PoseDataset(file, kp_root=tmp_path / "kp", valid_ratio=0.1)[0].extra["detections"]
    assert len(chosen) == 3, "the box with score 0.4 is left out"
    with pytest.raises(DataError, match=r"no video has a person in 50% of its frames"):
        PoseDataset(file, kp_root=tmp_path / "kp", valid_ratio=0.5, box_thr=0.9)
    with pytest.raises(AnnotationError, match=r"a: its file of joints .* does not exist: is kp_root right"):
        PoseDataset(file, kp_root=tmp_path)[0]


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([record("a", people=1), record("a")], "records 0 and 1 have one name, 'a'"),
        ([record("a", keypoint=None)], "a: has neither keypoint nor raw_file"),
        ([record("a", total_frames=9)], r"a: has 9 frames \(total_frames\), but joints of 6"),
        ([record("a", keypoint=np.zeros((1, 6, 17)))], r"a: keypoint is float64 \(1, 6, 17\), expected floats"),
        ([record("a", keypoint_score=np.zeros((2, 6, 18)))], r"a: keypoint_score is float64 \(2, 6, 18\), expected"),
        ([record("a", img_shape=100)], r"a: img_shape is 100, expected \(height, width\)"),
        ([record("a", label="wave")], "a: label is 'wave', expected a whole number from -1"),
        (
            [record("a"), record("b", keypoint=np.zeros((2, 6, 25, 3)), keypoint_score=None)],
            r"b: has joints of shape \(25, 3\), but a of",
        ),
        ([{"label": 1}], "record 0 has no frame_dir or filename, it has 'label'"),
        (["a"], "record 0 is a str, expected a dict"),
        ([], "has no records"),
        ({"train": []}, "has the keys 'split' and 'annotations', this one 'train'"),
        (3, "a file of skeletons is a list of records, this one is a int"),
        ([Evil()], r"holds .*\.mkdir, which is neither a plain value nor an array of numbers: such a file can run"),
        ({"split": {"train": ["b"]}, "annotations": [record("a")]}, "the split 'train' is empty"),
        ({"split": {"test": ["a"]}, "annotations": [record("a")]}, "has no split 'train', it has test"),
        ([record("a", frame_inds="x", raw_file="b", keypoint=None)], "a: frame_inds is a str, expected a row of"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Any, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        PoseDataset(written(tmp_path, content), "train" if isinstance(content, dict) else None)
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    file = written(tmp_path, [record("a")])
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match="is not a pickle that can be read"):
        PoseDataset(file)
    with pytest.raises(DataError, match="does not exist"):
        PoseDataset(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="box_thr needs valid_ratio"):
        PoseDataset(file, box_thr=0.6)
    with pytest.raises(DataError, match=r"box_thr must be one of 0\.5, 0\.6, 0\.7, 0\.8, 0\.9, got 0\.55"):
        PoseDataset(tmp_path / "none.pkl", box_thr=0.55)
