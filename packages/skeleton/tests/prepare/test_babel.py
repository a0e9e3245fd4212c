"""The official files of BABEL become one file, and wrong ones are named."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_skeleton.datasets.pose import PoseDataset
from vid_skeleton.files import read_skeletons
from vid_skeleton.prepare.ntu import Name, read_missing

JOINTS = np.random.default_rng(0).normal(size=(4, 3, 6, 25, 1)).astype(np.float32)
JOINTS[0, :, :, 1] = 0  # the centre is at the origin in all frames, and is not missing
JOINTS[1, :, 4:] = 0
JOINTS[2] = 0
KEYS = ["a", "b", "c", "a"]


def babel(folder: Path, labels: Any = (3, 0, 1, 59), joints: Any = JOINTS, extra: bool = True) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "train_ntu_sk_60.npy", joints)
    column = list(labels)
    rest = (column, KEYS, [0] * 4, KEYS) if extra else column
    (folder / "train_label_60.pkl").write_bytes(pickle.dumps((KEYS, rest)))
    return folder


@pytest.mark.parametrize("extra", [True, False])
def test_babel(vidcore: Callable[..., str], tmp_path: Path, extra: bool) -> None:
    babel(tmp_path / "in", extra=extra)
    said = vidcore(tmp_path, "data", "prepare", "babel", "in", "-o", "a.npz")
    assert "train: 3 chunks" in said and "1 chunks without joints are left out, the first is c" in said
    found = read_skeletons(tmp_path / "a.npz")
    assert list(found.names) == ["a", "b", "a-2"] and found.units == "metres" and found.fps.tolist() == [30] * 3
    assert found.class_names is not None and len(found.class_names) == 60 and found.class_names[:2] == ("walk", "stand")
    assert found.labels is not None and found.labels.tolist() == [3, 0, 59]
    first, second = (PoseDataset(tmp_path / "a.npz", "train")[i] for i in (0, 1))
    assert first.joints is not None and second.joints is not None and first.joints.scores is not None
    assert np.array_equal(first.joints.points[0], JOINTS[0, ..., 0].transpose(1, 2, 0))
    assert first.joints.scores.all() and second.total_frames == 6 and not second.joints.points[0, 4:].any()
    assert "fine" in vidcore(tmp_path, "data", "check-skeletons", "a.npz")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": (0, 1, 2, 60)}, "train_label_60.pkl: a: label is 60, expected a number from 0 to 59"),
        ({"labels": (0, 1, 2)}, "has 4 names and 3 labels"),
        ({"joints": JOINTS[:3]}, "has 4 labels, but in/train_ntu_sk_60.npy has 3 samples"),
        (
            {"joints": JOINTS[:, :2]},
            "expected an array of floats (samples, 3, frames, 25, people), found float32 (4, 2",
        ),
        ({"joints": np.full_like(JOINTS, np.inf)}, "in/train_ntu_sk_60.npy: a: a joint is infinite"),
    ],
)
def test_wrong_files_are_named(vidcore: Callable[..., str], tmp_path: Path, change: Any, message: str) -> None:
    babel(tmp_path / "in", **change)
    assert message in vidcore(tmp_path, "data", "prepare", "babel", "in", "-o", "a.npz", code=2)
    assert not (tmp_path / "a.npz").exists()


def test_missing_files_and_pickles_that_run_code(vidcore: Callable[..., str], tmp_path: Path) -> None:
    arguments = ("data", "prepare", "babel", "in", "-o", "a.npz")
    folder = babel(tmp_path / "in")
    (folder / "train_label_60.pkl").write_bytes(pickle.dumps((KEYS, Path)))
    assert "such a file can run code" in vidcore(tmp_path, *arguments, code=2)
    (folder / "train_label_60.pkl").unlink()
    assert "has no train_label_60.pkl beside it" in vidcore(tmp_path, *arguments, code=2)
    assert "has none of train_ntu_sk_120.npy" in vidcore(tmp_path, *arguments, "--classes", "120", code=2)


def test_the_lists_of_missing_skeletons_are_those_of_the_authors() -> None:
    listed = read_missing(Path(str(files("vid_skeleton"))) / "prepare" / "ntu_missing.txt")
    names = [Name.parse(name) for name in listed]
    assert len(listed) == 535 and sum(name is not None and name.setup <= 17 for name in names) == 302
    assert all(name is not None and (name.action <= 60) == (name.setup <= 17) for name in names)
