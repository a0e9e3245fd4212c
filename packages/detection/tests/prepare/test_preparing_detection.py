"""Official downloads of detection become what datasets read."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vid_detection.act import read_tubes
from vid_detection.ava import read_table
from vid_detection.datasets.ava import AVADataset, AVAKineticsDataset
from vid_detection.datasets.tubes import TubeDataset
from vidcore.errors import AnnotationError

AVA = """\
a,0902,0.1,0.1,0.5,0.9,12,0
a,0902,0.1,0.1,0.5,0.9,80,0
a,0902,0.1,0.1,0.5,0.9,12,0
a,0903,0.1,0.1,0.5,0.9,12,0
b,0904,0.1,0.1,0.5,0.9,12,0
"""
LIST = 'label {\n  name: "bend/bow (at the waist)"\n  label_id: 1\n  label_type: PERSON_MOVEMENT\n}\n'


def official_ava(folder: Path) -> None:
    for split in ("train", "val"):
        (folder / f"ava_{split}_v2.1.csv").write_text("old,0902,0.1,0.1,0.5,0.9,12,0\n")
        (folder / f"ava_{split}_v2.2.csv").write_text(AVA)
        (folder / f"ava_{split}_excluded_timestamps_v2.2.csv").write_text("a,0903\n")
        (folder / f"kinetics_{split}_v1.0.csv").write_text("k,12.5,0.1,0.1,0.5,0.9,3\nz,3\n")
    (folder / "ava_action_list_v2.2.pbtxt").write_text(LIST)


def movie(path: Path, frames: int) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 1, (16, 16))
    for _ in range(frames):
        writer.write(np.zeros((16, 16, 3), np.uint8))
    writer.release()


def test_ava(tmp_path: Path, vidcore: Callable[..., str]) -> None:
    download, videos = tmp_path / "download", tmp_path / "videos"
    for folder in (download, videos):
        folder.mkdir()
    official_ava(download)
    movie(videos / "a.mp4", 10)
    told = vidcore(tmp_path, "data", "prepare", "ava", "download", "-o", "out", "--videos", "videos")
    for line in (
        "AVA v2.2",
        "train: 2 of the 235 videos of AVA are annotated",
        "train: 1 of 2 videos are there",
        "train: 2 rows, 1 key frames; 1 key frames are left out, as their videos are missing; 1 repeated rows",
        "files begin at second 900 of the movies: timestamp_start of AVADataset",
    ):
        assert f"note: {line}" in told
    out = tmp_path / "out"
    assert (out / "missing_train.txt").read_text() == "b\n"
    assert (out / "videos.csv").read_text().splitlines()[1] == f"a,{Path('videos/a.mp4')},10,1.0,10.0,900"
    dataset = AVADataset(out / "ava_train.csv", videos, label_file=out / "classes_80.pbtxt")
    assert [s.key for s in dataset] == ["a,0902"] and dataset[0].boxes.labels.sum() == 2
    again = vidcore(tmp_path, "data", "prepare", "ava", "download", "-o", "out")
    assert "train: 3 rows, 2 key frames; 1 repeated rows are written once" in again


def test_ava_kinetics(tmp_path: Path, vidcore: Callable[..., str]) -> None:
    official_ava(tmp_path)
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("k_000010_000020.mp4", "k_000020_000030.mp4", "a.mkv", "b.webm"):
        (clips / name).touch()
    told = vidcore(tmp_path, "data", "prepare", "ava-kinetics", ".", "-o", "out", "--videos", "clips")
    assert "train: 3 of 4 videos are there" in told
    table = read_table(tmp_path / "out" / "ava_kinetics_val.csv")
    assert table.keys == (("a", 902.0), ("b", 904.0), ("k_000010_000020", 12.5))
    assert AVAKineticsDataset(tmp_path / "out" / "ava_kinetics_val.csv", clips)[2].meta["timestamp_start"] == 10
    vidcore(tmp_path, "data", "prepare", "ava-kinetics", ".", "-o", "out")
    assert len(read_table(tmp_path / "out" / "ava_kinetics_val.csv").keys) == 4, "without videos all rows remain"


def act(folder: Path, name: str, classes: int = 21) -> None:
    tube = np.array([[1, 10, 20, 50, 60], [2, 12, 20, 52, 60]], np.float32)
    content = {
        "labels": [f"class {i}" for i in range(classes)],
        "gttubes": {"c/x": {3: [tube, tube + np.float32([0, 9, 9, 9, 9])]}, "c/y": {0: [tube]}, "c/z": {}},
        "nframes": {"c/x": 5, "c/y": 2, "c/z": 4},
        "resolution": dict.fromkeys(("c/x", "c/y", "c/z"), (240, 320)),
        "train_videos": [["c/x"], ["c/y"]],
        "test_videos": [["c/y", "c/z"], ["c/x"]],
    }
    (folder / name).write_bytes(pickle.dumps(content))


def arrays(truth: Any) -> list[Any]:
    tubes = truth.tubes
    found = [tubes.videos, tubes.labels, tubes.offsets, tubes.frames, tubes.boxes, truth.sizes, truth.counts]
    return [truth.class_names, truth.videos, *found]


@pytest.mark.parametrize(
    ("command", "name", "classes", "said"),
    [
        ("jhmdb", "JHMDB-GT.pkl", 21, "21 classes: JHMDB"),
        ("jhmdb", "JHMDB-GT.pkl", 14, "14 classes: sub-JHMDB"),
        ("multisports", "multisports_GT.pkl", 66, "66 classes: MultiSports"),
        ("ucf101-24", "UCF101v2-GT.pkl", 24, "24 classes: UCF101-24"),
        ("ucf101-24", "UCF101v2-GT.pkl", 5, "5 classes: not a number of classes of ucf101-24"),
    ],
)
def test_tubes(tmp_path: Path, vidcore: Callable[..., str], command: str, name: str, classes: int, said: str) -> None:
    act(tmp_path, name, classes)
    (tmp_path / "frames" / "c" / "x").mkdir(parents=True)
    told = vidcore(tmp_path, "data", "prepare", command, ".", "-o", "out", "--videos", "frames")
    assert said in told and "all: 1 of 3 videos are there" in told
    assert "train, split 1: 1 videos, 2 tubes, 4 boxes; 2 of 5 frames have truth" in told
    written = tmp_path / "out" / f"{command}.npz"
    for subset, split in (("train", 1), ("test", 1), ("train", 2), ("test", 2), (None, 1)):
        got, wanted = (read_tubes(file, subset, split) for file in (written, tmp_path / name))
        for a, b in zip(arrays(got), arrays(wanted), strict=True):
            assert np.array_equal(a, b)
    assert len(TubeDataset(written, tmp_path / "frames")) == 2
    written.write_bytes(written.read_bytes()[:-200])
    with pytest.raises(AnnotationError, match="is damaged"):
        read_tubes(written)


def test_corrected_boxes_of_ucf101_24_do_not_overflow(tmp_path: Path, vidcore: Callable[..., str]) -> None:
    boxes = np.array([[200, 10, 110, 60], [201, 10, 110, 60]], np.uint8)
    annotations = [{"label": 2, "sf": 3, "ef": 5, "boxes": boxes}]
    content = {"Biking/v_Biking_g01_c01": {"annotations": annotations, "numf": 9, "label": 2}}
    (tmp_path / "pyannot.pkl").write_bytes(pickle.dumps(content))
    (tmp_path / "trainlist01.txt").write_text("Biking/v_Biking_g01_c01.avi 3\nBiking/v_Biking_g01_c02.avi 3\n")
    (tmp_path / "testlist01.txt").write_text("Biking/v_Biking_g01_c01.avi\n")
    told = vidcore(tmp_path, "data", "prepare", "ucf101-24", ".", "-o", "out")
    assert "1 of 2 videos of train_videos have no corrected truth" in told
    tubes = read_tubes(tmp_path / "out" / "ucf101-24.npz", "train").tubes
    assert tubes.frames.tolist() == [4, 5] and tubes.labels.tolist() == [2]
    assert tubes.boxes.tolist() == [[200, 10, 310, 70], [201, 10, 311, 70]]
    assert (tmp_path / "out" / "classes.txt").read_text().splitlines()[2] == "Biking"


@pytest.mark.parametrize("command", ["ava", "ava-kinetics", "multisports", "jhmdb", "ucf101-24"])
def test_other_folders_are_refused(tmp_path: Path, vidcore: Callable[..., str], command: str) -> None:
    assert "has no" in vidcore(tmp_path, "data", "prepare", command, ".", "-o", "out", code=2)
