"""Datasets: indexing, subsets, fingerprints, memory, folders."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vid_recognition.datasets.folder import FolderDataset
from vid_recognition.datasets.rawframe import RawframeDataset
from vid_recognition.datasets.video import VideoDataset
from vidcore.errors import DataError
from vidcore.protocols import Dataset
from vidcore.task.notes import data_notes


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"{name}.mp4 {label}\n" for label, name in enumerate("abcde")))
    return path


@pytest.mark.parametrize(
    ("indices", "names"), [(3, "abc"), (0, ""), (9, "abcde"), (-2, "de"), ([4, 0, 4], "eae"), ([-1], "e")]
)
def test_subset_of_the_entries(listed, indices, names):
    dataset = VideoDataset(listed, indices=indices)
    assert [s.path[0] for s in dataset] == list(names)
    assert [s.label for s in dataset] == ["abcde".index(n) for n in names]
    assert [s.index for s in dataset] == list(range(len(names)))
    assert dataset.labels.tolist() == [s.label for s in dataset]


def test_subset_of_entries_with_multiple_labels(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a 1 3\nb 0\nc\nd 2 3\n")
    dataset = VideoDataset(path, multi_class=True, num_classes=4, indices=[3, 1])
    assert [s.labels.tolist() for s in dataset] == [[0, 0, 1, 1], [1, 0, 0, 0]]
    assert [row.tolist() for row in dataset.labels] == [[2, 3], [0]]


def test_index_out_of_range(listed):
    dataset = VideoDataset(listed)
    assert isinstance(dataset, Dataset)
    assert dataset[-1].index == 4
    for index in (5, -6):
        with pytest.raises(IndexError):
            dataset[index]


def test_absolute_names_are_kept(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("/data/a.mp4 0\nb.mp4 0\n")
    assert [s.path for s in VideoDataset(path, Path("root"))] == ["/data/a.mp4", "root/b.mp4"]


def test_fingerprint_depends_on_content_only(tmp_path, listed):
    table = tmp_path / "other.csv"
    table.write_text("label,path\n" + "".join(f"{label},{name}.mp4\n" for label, name in enumerate("abcde")))
    fingerprint = VideoDataset(listed).fingerprint()
    assert VideoDataset(table, Path("elsewhere")).fingerprint() == fingerprint
    assert pickle.loads(pickle.dumps(VideoDataset(listed))).fingerprint() == fingerprint
    others = [
        VideoDataset(listed, indices=4),
        VideoDataset(listed, num_classes=9),
        VideoDataset(listed, classes=list("abcde")),
    ]
    table.write_text(table.read_text().replace("e.mp4", "f.mp4"))
    others.append(VideoDataset(table))
    table.write_text(table.read_text().replace("f.mp4", "e.mp4").replace("4,", "3,"))
    others.append(VideoDataset(table))
    assert len({fingerprint, *(o.fingerprint() for o in others)}) == 6


def test_fingerprint_depends_on_the_number_of_frames(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("a 10 1\n")
    first = RawframeDataset(path).fingerprint()
    path.write_text("a 11 1\n")
    assert RawframeDataset(path).fingerprint() != first


def test_pickled_dataset_is_small(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"class_{i % 9}/video_{i:06}.mp4 {i % 9}\n" for i in range(5_000)))
    dataset = VideoDataset(path)
    assert len(pickle.dumps(dataset)) < path.stat().st_size + 12 * len(dataset) + 3_000
    assert pickle.loads(pickle.dumps(dataset))[4_999].path == "class_4/video_004999.mp4"


@pytest.fixture
def folders(tmp_path):
    for name in (
        "run/b.mp4",
        "run/deep/a.AVI",
        "run/e.m2ts",
        "jump/c d.mkv",
        "jump/notes.txt",
        "jump/._c.mp4",
        "empty/x.txt",
        ".git/y.mp4",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_one_folder_per_class(folders):
    dataset = FolderDataset(folders)
    assert dataset.class_names == ("empty", "jump", "run")
    assert dataset.num_classes == 3
    found = [(s.path, s.label) for s in dataset]
    listed = [("jump/c d.mkv", 1), ("run/b.mp4", 2), ("run/e.m2ts", 2), ("run/deep/a.AVI", 2)]
    assert found == [(str(folders / name), label) for name, label in listed]
    assert FolderDataset(folders, indices=1)[0].path == str(folders / "jump/c d.mkv")


def test_given_classes_of_a_folder(folders):
    dataset = FolderDataset(folders, classes=["run", "jump"])
    assert [s.label for s in dataset] == [0, 0, 0, 1]
    assert dataset.class_names == ("run", "jump")


def test_a_class_may_lack_a_folder(folders):
    dataset = FolderDataset(folders, classes=["swim", "run", "jump"])
    assert [s.label for s in dataset] == [1, 1, 1, 2]
    assert dataset.num_classes == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"classes": ["runn"]}, "class 'runn' has no folder in .*; did you mean 'run'"),
        ({"suffixes": [".webm"]}, r"no videos \(\.webm\) in the 3 class folders"),
    ],
)
def test_folders_that_are_refused(folders, arguments, message):
    with pytest.raises(DataError, match=message):
        FolderDataset(folders, **arguments)


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="is not a folder"):
        FolderDataset(tmp_path / "missing")
    with pytest.raises(DataError, match="no videos"):
        FolderDataset(tmp_path)


def test_datasets_import_no_heavy_library():
    code = (
        "import sys\n"
        "from vid_recognition.datasets import folder, rawframe, video\n"
        "print({'torch', 'cv2', 'decord', 'av'} & set(sys.modules) or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"


def test_labels_are_32_bit(listed):
    assert VideoDataset(listed).labels.dtype == np.int32


def test_videos_in_both_training_and_validation_are_reported(tmp_path):
    def dataset(name, lines):
        (tmp_path / name).write_text(lines)
        return VideoDataset(tmp_path / name, data_root=tmp_path / "videos")

    train, val = dataset("train.txt", "a.mp4 0\nb.mp4 1\nc.mp4 0\n"), dataset("val.txt", "d.mp4 0\nb.mp4 1\n")
    assert list(val.sample_paths()) == [val[i].path for i in range(2)]
    said = [f"data.val: 1 of its 2 videos are in data.train as well, for example {tmp_path}/videos/b.mp4"]
    assert data_notes({"train": train, "val": val, "test": dataset("test.txt", "e.mp4 1\nf.mp4 0\n")}) == said
    assert data_notes({"val": val}) == []
    same = dataset("same.txt", "../videos/b.mp4 0\n./a.mp4 0\n")
    (found,) = data_notes({"train_extra.web": train, "val": same})[:1]
    assert "2 of its 2 videos are in data.train_extra.web as well, 1 of them with a different class" in found
