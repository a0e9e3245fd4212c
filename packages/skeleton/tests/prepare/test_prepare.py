"""Official annotations of skeletons become one file, and what is left out is said."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_skeleton.datasets.pose import PoseDataset
from vid_skeleton.files import read_skeletons
from vid_skeleton.prepare.ntu import Name, parse_ntu, read_missing, splits_of
from vidcore.errors import AnnotationError

rng = np.random.default_rng(0)
PERSON = np.stack([rng.uniform(-0.2, 0.2, 25), np.linspace(-1, 1, 25), np.full(25, 3.0)], 1)
SEAT = PERSON[:, [1, 0, 2]]


def text(frames: list[dict[int, Any]]) -> str:
    """Return a ``.skeleton`` file: per frame, joints (25, 3) by body."""
    lines = [str(len(frames))]
    for bodies in frames:
        lines.append(str(len(bodies)))
        for number, joints in bodies.items():
            lines += [f"{number} 0 1 1 1 1 0 0.1 0.2 2", "25"]
            lines += [f"{x} {y} {z} 1 2 3 4 1 0 0 0 2" for x, y, z in joints]
    return "\n".join(lines) + "\n"


def moving(amount: float, frame: int) -> Any:
    return PERSON + np.array([amount * np.sin(frame), 0, 0])


def test_a_file_keeps_its_frames(tmp_path: Path) -> None:
    file = tmp_path / "a.skeleton"
    file.write_text(text([{}, {72057594037931101: PERSON}, {}, {72057594037931101: PERSON + 1}, {}]))
    found = parse_ntu(file)
    assert found.frames == 5 and len(found.tracks) == 1 and found.tracks[0].start == 1
    points = found.tracks[0].points
    assert points.shape == (3, 25, 3) and np.isnan(points[1]).all()
    assert np.allclose(points[0], PERSON, atol=1e-6) and np.allclose(points[2], PERSON + 1, atol=1e-6)


def test_bodies_that_are_no_people_are_dropped(tmp_path: Path) -> None:
    frames = [{1: moving(0.1, t), 2: SEAT, 3: moving(0.5, t), 5: moving(0.01, t)} for t in range(20)]
    for t in range(11):
        frames[t][4] = PERSON
    (tmp_path / "a.skeleton").write_text(text(frames))
    found = parse_ntu(tmp_path / "a.skeleton")
    assert found.dropped == {"short": 1, "wide": 1, "third": 1}
    wanted = [moving(0.5, 7), moving(0.1, 7)]
    assert [np.allclose(t.points[7], w, atol=1e-6) for t, w in zip(found.tracks, wanted, strict=True)] == [True, True]


def test_two_short_bodies_are_kept_and_lost_joints_are_missing(tmp_path: Path) -> None:
    lost = PERSON.copy()
    lost[3], lost[4] = 0, np.nan
    (tmp_path / "a.skeleton").write_text(text([{1: lost, 2: PERSON + t} for t in range(5)]))
    found = parse_ntu(tmp_path / "a.skeleton")
    assert not found.dropped["short"] and len(found.tracks) == 2
    assert [sorted(set(np.argwhere(np.isnan(t.points))[:, 1])) for t in found.tracks] == [[], [3, 4]]


def test_a_person_whose_number_changes_stays_one(tmp_path: Path) -> None:
    frames: list[dict[int, Any]] = [{1 if t < 15 else 2: moving(0.1, t)} for t in range(30)]
    (tmp_path / "a.skeleton").write_text(text(frames))
    (track,) = parse_ntu(tmp_path / "a.skeleton").tracks
    assert len(track.points) == 30 and np.isfinite(track.points).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.skeleton:1: expected the number of frames"),
        ("x\n", "a.skeleton:1: expected the number of frames"),
        ("0" * 5000, "a.skeleton:1: expected the number of frames"),
        ("99999999999\n", "expected the number of frames, up to 100,000"),
        ("1\n9999\n", "a.skeleton:2: expected the number of bodies, up to 20"),
        ("1\n1\nx 1\n", "a.skeleton:3: expected the number of a body, found 'x 1'"),
        ("1\n1\n7 1\n24\n", "a.skeleton:4: a body has 25 joints"),
        (text([{1: PERSON}])[:900], "expected x, y, z of a joint|ends in the middle of frame 0 of 1"),
        (text([{1: PERSON}]).replace(" 1 2 3 4", " 1 2 3 4", 1).replace("3.0 1", "z 1", 1), "expected x, y, z"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.skeleton").write_text(content)
    with pytest.raises(AnnotationError, match=message):
        parse_ntu(tmp_path / "a.skeleton")


def test_names_and_splits(tmp_path: Path) -> None:
    name = Name.parse("S001C002P003R002A013")
    assert name == Name(1, 2, 3, 2, 13)
    assert splits_of(name, "ntu60") == ("xsub_val", "xview_train")
    assert splits_of(name, "ntu120") == ("xsub_val", "xset_val")
    other = Name.parse("S018C001P103R001A061")
    assert other is not None and splits_of(other, "ntu120") == ("xsub_train", "xset_train")
    (tmp_path / "list.txt").write_text("The samples with\nmissing skeletons\n\nS001C002P005R002A008\n")
    assert read_missing(tmp_path / "list.txt") == {"S001C002P005R002A008"}


def test_a_folder_of_raw_files(vidcore: Callable[..., str], tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    whole = text([{1: moving(0.1, t)} for t in range(4)])
    for name, content in {
        "S001C001P001R001A001": whole,
        "S001C002P003R001A060": whole,
        "S001C002P003R001A061": whole,
        "S001C002P003R002A002": text([{}, {}]),
        "S001C002P003R002A003": "5\n",
        "S001C002P003R002A004": whole,
        "S001C002P005R002A008": whole,  # in the list of the authors
    }.items():
        (raw / f"{name}.skeleton").write_text(content)
    (tmp_path / "missing.txt").write_text("prose\nS001C002P003R002A004\n")
    said = vidcore(tmp_path, "data", "prepare", "ntu60", "raw", "-o", "ntu.npz", "--missing", "missing.txt")
    counts = "2 in the list of missing skeletons, 1 of actions above 60"
    assert f"7 files: 2 kept; {counts}" in said
    assert "left out: raw/S001C002P003R002A003.skeleton:2: expected the number of bodies" in said
    assert "left out: raw/S001C002P003R002A002.skeleton: has no body in 2 frames" in said
    found = read_skeletons(tmp_path / "ntu.npz")
    assert list(found.names) == ["S001C001P001R001A001", "S001C002P003R001A060"] and found.units == "metres"
    assert found.labels is not None and found.labels.tolist() == [0, 59] and found.class_names is not None
    assert (len(found.class_names) == 60 and found.joint_names[20] == "spine_shoulder") or len(found.joint_names) == 25
    train = PoseDataset(tmp_path / "ntu.npz", "xsub_train")
    assert [s.key for s in train] == ["S001C001P001R001A001"]
    assert [s.key for s in PoseDataset(tmp_path / "ntu.npz", "xview_train")] == ["S001C002P003R001A060"]


def test_a_published_pickle(vidcore: Callable[..., str], tmp_path: Path) -> None:
    points = rng.uniform(1, 99, (2, 6, 17, 2)).astype(np.float16)
    points[1, :2] = 0
    record = {"frame_dir": "a", "label": 3, "total_frames": 6, "img_shape": (100, 200), "keypoint": points}
    content = {"split": {"train": ["a"], "val": []}, "annotations": [record]}
    (tmp_path / "gym_2d.pkl").write_bytes(pickle.dumps(content))
    vidcore(tmp_path, "data", "prepare", "gym", "gym_2d.pkl", "-o", "gym.npz")
    found = read_skeletons(tmp_path / "gym.npz")
    assert found.class_names is not None and len(found.class_names) == 99 and list(found.splits) == ["train", "val"]
    assert [(t.start, len(t.points)) for t in found.tracks(0)] == [(0, 6), (2, 4)]
    sample, given = PoseDataset(tmp_path / "gym.npz", "train")[0], PoseDataset(tmp_path / "gym_2d.pkl", "train")[0]
    assert sample.joints is not None and given.joints is not None
    assert np.array_equal(sample.joints.points, given.joints.points)
    assert sample.geometry is not None and sample.geometry.size == (100, 200) and sample.label == 3


def test_kinetics(vidcore: Callable[..., str], tmp_path: Path) -> None:
    about = {"total_frames": 5, "img_shape": (100, 200), "frame_inds": np.array([0, 2, 2]), "label": 0}
    records = [{"frame_dir": name, "raw_file": f"{name}.pkl", **about} for name in ("gone", "here")]
    (tmp_path / "k400_2d.pkl").write_bytes(pickle.dumps(records))
    (tmp_path / "kp").mkdir()
    joints = rng.uniform(1, 99, (3, 17, 3)).astype(np.float16)
    (tmp_path / "kp" / "here.pkl").write_bytes(pickle.dumps({"here": {"keypoint": joints}}))
    said = vidcore(tmp_path, "data", "prepare", "kinetics-skeleton", "k400_2d.pkl", "-o", "k.npz", "--kp-root", "kp")
    assert "left out: gone: its file of joints kp/gone.pkl does not exist" in said
    found = read_skeletons(tmp_path / "k.npz")
    assert list(found.names) == ["here"]
    assert [(t.start, len(t.points)) for t in found.tracks(0)] == [(0, 3), (2, 1)]


def test_what_does_not_fit_is_refused(vidcore: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    assert "has no file with a name like S001C001P001R001A001.skeleton" in vidcore(
        tmp_path, "data", "prepare", "ntu60", "raw", "-o", "a.npz", code=2
    )
    assert "must end in .npz" in vidcore(tmp_path, "data", "prepare", "ntu60", "raw", "-o", "a.pkl", code=2)
    assert not (tmp_path / "a.npz").exists()
