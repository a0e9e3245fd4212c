"""Datasets of key frames and of frames of tubes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from vid_detection.classes import AVA_CLASSES
from vid_detection.datasets.ava import AVADataset, AVAKineticsDataset
from vid_detection.datasets.boxes import VideoBoxDataset
from vid_detection.datasets.proposals import read_proposals
from vid_detection.datasets.tubes import TubeDataset
from vidcore.errors import AnnotationError, DataError
from vidcore.transforms.loading import Decode

TABLE = """\
a,0902,0.1,0.1,0.5,0.9,12,7
a,0902,0.1,0.1,0.5,0.9,80,7
a,0902,0.1,0.1,0.5,0.9,12,8
a,0903,0.2,0.1,0.5,0.9,1,7
b,0904
b,0902,0.3,0.3,0.6,0.6,17,0
"""


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def classes_of(sample: Any) -> list[list[str]]:
    return [[sample.class_names[k] for k in np.flatnonzero(row)] for row in sample.boxes.labels]


# ---- AVA


def test_rows_become_key_frames_with_persons(tmp_path: Path) -> None:
    dataset = AVADataset(write(tmp_path, TABLE))
    assert [s.key for s in dataset] == ["a,0902", "a,0903", "b,0904", "b,0902"]
    first = dataset[0]
    assert classes_of(first) == [["stand", "watch (a person)"], ["stand"]], "equal boxes of two persons stay two"
    assert first.boxes.track.tolist() == [7, 8] and first.boxes.relative
    assert first.extra["truth"].labels.sum(1).tolist() == [2, 1]
    assert first.meta == {"timestamp": 902, "timestamp_start": 900, "timestamp_end": 1800, "shot_info": (0, 27000)}
    assert len(dataset[2].boxes) == 0, "a key frame in which nobody acts is data"
    assert dataset[2].boxes.labels.shape == (0, 80)
    assert [row.tolist() for row in dataset.labels] == [[11, 79], [0], [], [16]]
    assert "in 1 of 4 key frames nobody is annotated" in dataset.notes()
    assert len(AVADataset(write(tmp_path, TABLE), indices=2)) == 2


def test_videos_are_found_below_the_folder_and_missing_ones_counted(tmp_path: Path) -> None:
    root = tmp_path / "videos"
    (root / "trainval").mkdir(parents=True)
    (root / "trainval" / "a.mkv").touch()
    dataset = AVADataset(write(tmp_path, TABLE), root)
    assert [s.path for s in dataset] == [str(root / "trainval" / "a.mkv")] * 2
    assert dataset[0].start_index == 0, "videos count from 0"
    assert "1 of 2 videos have no file (b): 2 of 4 key frames are left out" in dataset.notes()
    (root / "b").mkdir()
    assert AVADataset(write(tmp_path, TABLE), root)[2].start_index == 1, "folders of frames count from 1"
    (root / "a.mp4").mkdir()
    (root / "test").mkdir()
    (root / "test" / "a.mp4").touch()
    with pytest.raises(DataError, match="several files could be the video a"):
        AVADataset(write(tmp_path, TABLE), root)


def test_excluded_key_frames_classes_and_frame_rates(tmp_path: Path) -> None:
    excluded = write(tmp_path, "a,0902\n", "excluded.csv")
    rates = write(tmp_path, "video,fps\na,24\nb,29.97\n", "rates.csv")
    dataset = AVADataset(write(tmp_path, TABLE), exclude_file=excluded, custom_classes=[1, 17], fps=rates)
    assert dataset.class_names == (AVA_CLASSES[0], AVA_CLASSES[16])
    assert [(s.key, classes_of(s), s.fps) for s in dataset] == [
        ("a,0903", [["bend/bow (at the waist)"]], 24.0),
        ("b,0904", [], 29.97),
        ("b,0902", [["carry/hold (an object)"]], 29.97),
    ]
    with pytest.raises(DataError, match="AVA has no class 90"):
        AVADataset(write(tmp_path, TABLE), custom_classes=[90])
    with pytest.raises(AnnotationError, match="a person has 2 actions"):
        AVADataset(write(tmp_path, TABLE), multilabel=False)
    with pytest.raises(AnnotationError, match="action 81 has no name: the classes are 1 to 80"):
        AVADataset(write(tmp_path, "a,0902,0.1,0.1,0.5,0.9,12,7\na,0902,0.1,0.1,0.5,0.9,81,7\n"))
    with pytest.raises(AnnotationError, match="listed twice"):
        AVADataset(write(tmp_path, TABLE), label_file=write(tmp_path, 'item {\n name: "x"\n id: 1\n}\n' * 2, "l.pbtxt"))


def test_bad_boxes_are_counted_and_repaired_or_refused(tmp_path: Path) -> None:
    table = write(
        tmp_path,
        "a,0902,0.1,0.1,0.5,0.9,12,7\na,0902,0.1,0.1,0.1,0.9,12,8\na,0902,0.5,0.1,0.1,0.9,12,9\n"
        "a,0902,nan,0.1,0.5,0.9,12,1\na,0902,1.1,0.1,1.2,0.9,12,2\na,0902,0.8,-0.1,1.2,0.9,12,3\n"
        "a,0902,0.1,0.1,0.5,0.9,12,7\n",
    )
    dataset = AVADataset(table)
    np.testing.assert_allclose(dataset[0].boxes.xyxy, [[0.1, 0.1, 0.5, 0.9], [0.8, 0, 1, 0.9]])
    told = "\n".join(dataset.notes())
    for what in (
        "not finite: dropped",
        "end before they begin",
        "no area",
        "outside of the picture",
        "clipped",
        "1 rows repeat",
    ):
        assert what in told
    with pytest.raises(AnnotationError, match="1 of 7 boxes have no area: dropped; the first in line 2"):
        AVADataset(table, bad_boxes="raise")


def test_clips_of_kinetics_are_found_by_their_seconds(tmp_path: Path) -> None:
    root = tmp_path / "clips"
    root.mkdir()
    for name in ("k_000010_000020.mp4", "k_000020_000030.mp4", "m.mkv"):
        (root / name).touch()
    table = write(tmp_path, "k,22.5,0.1,0.1,0.5,0.9,12\nk,12,0.1,0.1,0.5,0.9,12\nm,0902,0.1,0.1,0.5,0.9,3,0\nk,99\n")
    proposals = write(tmp_path, json.dumps({"k,0022.5": [[0.1, 0.1, 0.5, 0.9, 0.99]]}), "p.json")
    dataset = AVAKineticsDataset(table, root, proposal_file=proposals)
    assert [s.key for s in dataset] == ["k_000020_000030,0022.5", "k_000010_000020,0012", "m,0902"]
    assert dataset[0].meta["timestamp_start"] == 20 and dataset[2].meta["timestamp_start"] == 900
    assert dataset[0].meta["shot_info"] == (0, 300)
    assert dataset[0].boxes.track is None, "rows of Kinetics have no persons"
    assert len(dataset[0].proposals) == 1 and len(dataset[1].proposals) == 0


# ---- proposals

ROWS = [[0.1, 0.1, 0.5, 0.9, 0.95], [0.2, 0.1, 0.5, 0.9, 0.4]]


def proposal_files(folder: Path) -> list[Path]:
    pickled = folder / "p.pkl"
    pickled.write_bytes(pickle.dumps({"a,0902": np.array(ROWS), ("a", "0903"): np.zeros((0, 5))}))
    rows = [",".join(map(str, row[:4])) for row in ROWS]
    return [
        pickled,
        write(folder, json.dumps({"a,902": ROWS}), "p.json"),
        write(folder, f"a,0902,{rows[0]},,0.95\na,0902,{rows[1]},-1,0.4\n", "slowfast.csv"),
        write(folder, f"video,time,x1,y1,x2,y2,score\na,902,{rows[0]},0.95\na,902.0,{rows[1]},0.4\n", "own.csv"),
    ]


@pytest.mark.parametrize("number", range(4))
def test_proposals_are_read_from_any_format(tmp_path: Path, number: int) -> None:
    file = proposal_files(tmp_path)[number]
    dataset = AVADataset(write(tmp_path, TABLE), proposal_file=file)
    np.testing.assert_allclose(dataset[0].proposals.xyxy, [ROWS[0][:4]], rtol=1e-6)
    np.testing.assert_allclose(dataset[0].proposals.scores, [0.95], rtol=1e-6)
    assert f"{file.name} has proposals for 1 of 4 key frames" in dataset.notes()
    assert len(dataset[1].proposals) == 0
    lower = AVADataset(write(tmp_path, TABLE), proposal_file=file, person_det_score_thr=0.3, missing_proposals="truth")
    assert len(lower[0].proposals) == 2
    np.testing.assert_allclose(lower[1].proposals.xyxy, lower[1].boxes.xyxy)
    assert any("3 of 4 key frames have no proposals, and take their true boxes" in note for note in lower.notes())


def test_proposals_of_other_videos_or_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of a,0902: is it for another set of videos"):
        AVADataset(write(tmp_path, TABLE), proposal_file=write(tmp_path, json.dumps({"z,0902": ROWS}), "p.json"))
    for content, problem in (
        ({"a": ROWS}, "a key must be 'video,second' as in"),
        ({"a,0902": [[0.1, 0.2]]}, r"got shape \(1, 2\)"),
        ({"a,0902": [[10, 20, 300, 400, 0.9]]}, "boxes in pixels must be divided"),
        ({"a,0902": "x"}, "must be rows of"),
    ):
        with pytest.raises(AnnotationError, match=problem):
            read_proposals(write(tmp_path, json.dumps(content), "p.json"))
    with pytest.raises(AnnotationError, match="not a pickle"):
        read_proposals(write(tmp_path, "text", "p.pkl"))
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps({"a,0902": print}))
    with pytest.raises(AnnotationError, match="not read from pickles"):
        read_proposals(tmp_path / "evil.pkl")


# ---- your own table

HEADER = "video,time,x1,y1,x2,y2,person,action\n"
OWN = f"""\
{HEADER}day/a.mp4,0.2,8,4,16,12,anna,"open, close (door)"
day/a.mp4,0.2,8,4,16,12,anna,gießen
day/a.mp4,0.4,,,,,,
"""


def movie(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, (32, 24))
    for i in range(10):
        writer.write(np.full((24, 32, 3), 10 * i, np.uint8))
    writer.release()


def test_own_boxes_in_pixels_become_fractions_of_the_video(tmp_path: Path) -> None:
    movie(tmp_path / "day" / "a.mp4")
    dataset = VideoBoxDataset(write(tmp_path, OWN), tmp_path)
    assert dataset.class_names == ("gießen", "open, close (door)")
    sample = dataset[0]
    np.testing.assert_allclose(sample.extra["truth"].xyxy, [[0.25, 1 / 6, 0.5, 0.5]])
    assert sample.path == str(tmp_path / "day" / "a.mp4") and classes_of(sample) == [list(dataset.class_names)]
    assert sample.proposals is not None and len(sample.proposals) == 1, "true boxes, unless there are others"
    assert len(dataset[1].boxes) == 0
    decoded = Decode()(sample, np.random.default_rng())
    np.testing.assert_allclose(decoded.boxes.xyxy, [[8, 4, 16, 12]], atol=1e-4)
    np.testing.assert_allclose(decoded.extra["truth"].xyxy, sample.extra["truth"].xyxy)


def test_the_unit_of_own_boxes_is_told_or_refused(tmp_path: Path) -> None:
    fractions = write(tmp_path, HEADER + "a,0.2,0.1,0.2,0.5,0.6,,run\na,0.4,0.1,0.2,1.02,0.6,,run\n")
    dataset = VideoBoxDataset(fractions)
    np.testing.assert_allclose(dataset[0].boxes.xyxy, [[0.1, 0.2, 0.5, 0.6]])
    assert any("clipped" in note for note in dataset.notes())
    mixed = write(tmp_path, HEADER + "a,0.2,0.1,0.2,0.5,0.6,,run\na,0.4,10,20,100,60,,run\n")
    with pytest.raises(AnnotationError, match=r"line 3 has pixels .* and line 2 fractions"):
        VideoBoxDataset(mixed)
    unknown = write(tmp_path, HEADER + "a,0.2,10,20,50,60,,run\n")
    with pytest.raises(DataError, match="the size of the pictures of a is not known"):
        VideoBoxDataset(unknown)
    sized = write(tmp_path, "video,time,x1,y1,x2,y2,action,width,height\na,0.2,10,20,50,60,run,100,200\n")
    np.testing.assert_allclose(VideoBoxDataset(sized)[0].boxes.xyxy, [[0.1, 0.1, 0.5, 0.3]], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a,b\n", "the header needs video, time"),
        ("a,0902,0.1,0.1,0.5,0.9,12,7\n", "read by AVADataset"),
        (HEADER.replace("person", "persom"), "unknown column 'persom'; did you mean 'person'"),
        (HEADER, "has no rows"),
        (HEADER + "a,x,0.1,0.2,0.5,0.6,,run\n", "table.csv:2: time must be a number, got 'x'"),
        (HEADER + "a,-1,0.1,0.2,0.5,0.6,,run\n", "seconds from the beginning"),
        (HEADER + "a,1,0.1,0.2,0.5\n", "has 5 columns, the header 8"),
        (HEADER + "a,1,0.1,0.2,,0.6,,run\n", "x2 must be a number"),
        (HEADER + "a,1,,,,,,run\n", "but no box"),
        (HEADER + "a,1,0.1,0.2,0.5,0.6,,3\n", "actions must be names, got numbers: 3"),
        (HEADER + "a,1,0.1,0.2,0.5,0.6,,\n", "no box has an action"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(DataError, match=problem):
        VideoBoxDataset(write(tmp_path, text))


def test_actions_must_be_classes(tmp_path: Path) -> None:
    table = write(tmp_path, HEADER + "a,1,0.1,0.2,0.5,0.6,,runing\n")
    with pytest.raises(AnnotationError, match="'runing' is not one of the classes; did you mean 'running'"):
        VideoBoxDataset(table, classes=["running", "jumping"])


# ---- tubes


def test_frames_of_tubes(tmp_path: Path) -> None:
    rows = np.array([[2, 10, 20, 50, 60], [3, 12, 20, 52, 60], [9, 0, 0, 5, 5]], np.float32)
    content = {
        "labels": ["jump", "run"],
        "gttubes": {"Run/x": {1: [rows], 0: [rows[:1]]}, "Run/y": {}},
        "nframes": {"Run/x": 5, "Run/y": 3},
        "resolution": {"Run/x": (100, 200), "Run/y": (100, 200)},
        "train_videos": [["Run/x", "Run/y"]],
        "test_videos": [["Run/y"]],
    }
    file = tmp_path / "truth.pkl"
    file.write_bytes(pickle.dumps(content))
    proposals = write(tmp_path, json.dumps({"x,3": [[0.1, 0.1, 0.5, 0.9, 0.9]]}), "p.json")
    dataset = TubeDataset(file, tmp_path, proposal_file=proposals)
    assert [s.key for s in dataset] == ["Run/x,0002", "Run/x,0003"]
    assert classes_of(dataset[0]) == [["run"], ["jump"]] and classes_of(dataset[1]) == [["run"]]
    np.testing.assert_allclose(dataset[0].boxes.xyxy[0], [0.05, 0.2, 0.25, 0.6])
    assert dataset[0].meta == {"frame": 1, "size": (100, 200), "shot_info": (0, 5)}
    assert len(dataset[1].proposals) == 1
    assert any("1 of 4 true boxes lie behind the last frame" in note for note in dataset.notes())
    assert len(TubeDataset(file, tmp_path, background=True)) == 8
    assert [s.key for s in TubeDataset(file, tmp_path, every=2)] == ["Run/x,0003"]
    with pytest.raises(DataError, match="no video of test split 1 has a frame with a box"):
        TubeDataset(file, tmp_path, "test")
    with pytest.raises(DataError, match="has 1 splits, got split 2"):
        TubeDataset(file, tmp_path, split=2)
