"""``vidcore data convert-annotations``: files of another tool, times from videos, what is written and what is said."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from vid_annotations.convert import BoxRow, read_annotations, segments_of_boxes
from vid_annotations.places import Videos
from vid_annotations.source import Options
from vidcore import cli
from vidcore.errors import DataError
from vidcore.video.synthetic import FPS, SIZE, write_video

SHARED = Path(os.environ.get("VIDCORE_SHARED", Path(__file__).resolve().parents[4] / "shared")) / "data" / "annotations"


def run(*arguments: str | Path) -> int:
    return cli.run(["data", "convert-annotations", *map(str, arguments)])


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared annotations")
@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("cvat/train.xml", []),
        ("voc_action", []),
        ("coco/annotations/instances_train.json", []),
        ("coco/annotations/stuff_train.json", []),
        ("coco", []),
        ("ava/annotations/ava_train_v2.2.csv", ["--times", "frames", "--classes", "names.txt"]),
    ],
)
def test_files_of_another_tool_have_the_same_boxes(
    source: str, options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CVAT's images have no tracks, but persons differ within a picture; COCO has one action per person and picture."""
    monkeypatch.chdir(tmp_path)
    Path("names.txt").write_text("open door\nclose door\nwalk\n")
    assert run(SHARED / source, "-o", "boxes.csv", "--fps", "1", *options) == 0
    found, truth = rows_of(Path("boxes.csv")), rows_of(SHARED / "truth.csv")

    def moments(rows: Iterable[dict[str, str]], time: str) -> dict[tuple[str, str], list[dict[str, str]]]:
        grouped: dict[tuple[str, str], list[dict[str, str]]] = {}
        for row in rows:
            grouped.setdefault((row["video"], row[time]), []).append(row)
        return grouped

    got, wanted = moments(found, "time"), moments(truth, "frame")
    assert got.keys() == wanted.keys()
    for key, rows in wanted.items():
        people: dict[str, str] = {}
        for row in got[key]:
            corners = np.array([float(row[side]) for side in ("x1", "y1", "x2", "y2")])
            (same,) = {
                other["person"]
                for other in rows
                if np.abs(corners - [float(other[side]) for side in ("x1", "y1", "x2", "y2")]).max() < 0.011
            }
            assert people.setdefault(row["person"], same) == same
            assert (same, row["action"]) in {(other["person"], other["action"]) for other in rows}
        assert len(people) == len({row["person"] for row in rows})
        if "coco" not in source:
            assert len(got[key]) == len(rows)
        if "cvat" not in source:
            assert all(name == same for name, same in people.items())


@pytest.mark.skipif(not SHARED.exists(), reason="needs the shared annotations")
def test_a_file_without_annotations_has_no_boxes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    source = SHARED / "coco" / "annotations" / "image_info_train.json"
    assert run(source, "-o", tmp_path / "boxes.csv", "--fps", "1") == 2
    assert "has no boxes; it has neither boxes nor segments" in capsys.readouterr().err
    assert not (tmp_path / "boxes.csv").exists()


def test_notes_beside_annotations_are_skipped(tmp_path: Path) -> None:
    """Label Studio writes them into its exports of VOC and COCO."""
    (tmp_path / "a.xml").write_text(TRACKS)
    (tmp_path / "notes.json").write_text('{"categories": [], "info": {}}')
    notes = read_annotations(tmp_path, Options(fps=1.0)).notes
    assert any("skipped: " in note and "notes.json: is not an annotation file" in note for note in notes)


TRACKS = """<annotations><meta><task><id>1</id><size>24</size><start_frame>0</start_frame><stop_frame>23</stop_frame>
<source>/home/me/Türe, zu.mp4</source></task></meta><track id="0" label="walk">
<box frame="8" outside="0" xtl="1" ytl="2" xbr="30" ybr="40"/>
<box frame="16" outside="1" xtl="1" ytl="2" xbr="3" ybr="4"/>
</track></annotations>"""


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    (folder / "day").mkdir(parents=True)
    frames = [np.full((SIZE, SIZE, 3), 10 * i, np.uint8) for i in range(20)]
    write_video(tmp_path / "plain.mp4", frames)
    (tmp_path / "plain.mp4").rename(folder / "day" / "Türe, zu.mp4")
    return folder


def test_times_and_names_come_from_the_videos(tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.xml").write_text(TRACKS)
    assert run(tmp_path / "a.xml", "-o", tmp_path / "boxes.csv", "--videos", videos) == 0
    rows = rows_of(tmp_path / "boxes.csv")
    assert {row["video"] for row in rows} == {"day/Türe, zu.mp4"}
    assert [float(row["time"]) for row in rows] == [i / FPS for i in range(20)], "the file is shorter than the task"
    assert [row["action"] for row in rows] == [""] * 8 + ["walk"] * 8 + [""] * 4
    said = capsys.readouterr()
    assert "wrote" in said.out and "8 boxes in pixels at 20 key frames, 1 video, actions: walk" in said.out
    assert "note: key frames without a box: 12 (rows with video and time only: nobody is there)" in said.err

    assert run(tmp_path / "a.xml", "-o", tmp_path / "segments.json", "--videos", videos) == 0
    content = json.loads((tmp_path / "segments.json").read_text(encoding="utf-8"))
    assert content == {
        "day/Türe, zu.mp4": {
            "duration_second": 1.25,
            "duration_frame": 20,
            "fps": FPS,
            "annotations": [{"segment": [0.5, 1.0], "label": "walk"}],
        }
    }
    assert "segments are the times at which anybody does an action" in capsys.readouterr().err


def test_one_key_frame_per_second(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "a.xml").write_text(TRACKS)
    found = read_annotations(tmp_path / "a.xml", Options(Videos(videos)), every=0.25)
    assert [(row.time, row.action) for row in found.boxes] == [
        (0, ""), (0.25, ""), (0.5, "walk"), (0.75, "walk"), (1, ""), (1.1875, "")
    ]  # fmt: skip


def test_boxes_become_pixels_of_the_file(tmp_path: Path, videos: Path) -> None:
    """They may have been drawn on a larger copy; a picture of another shape is another video, or a turned one."""
    size = "<original_size><width>{}</width><height>{}</height></original_size><source>"
    (tmp_path / "a.xml").write_text(TRACKS.replace("<source>", size.format(SIZE * 2, SIZE * 2)))
    found = read_annotations(tmp_path / "a.xml", Options(Videos(videos)))
    assert {row.box for row in found.boxes if row.box} == {(0.5, 1, 15, 20)}
    drawn = f"boxes were drawn on {2 * SIZE} x {2 * SIZE} pixels"
    assert f"Türe, zu.mp4: {drawn}, and are now those of the file, {SIZE} x {SIZE}" in found.notes
    (tmp_path / "a.xml").write_text(TRACKS.replace("<source>", size.format(SIZE * 2, SIZE)))
    with pytest.raises(DataError, match=r"drawn on 192 x 96 pixels, and the file has 96 x 96: is it that video\?"):
        read_annotations(tmp_path / "a.xml", Options(Videos(videos)))


def test_a_rate_beside_the_videos_is_not_ignored_silently(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "a.xml").write_text(TRACKS)
    notes = read_annotations(tmp_path / "a.xml", Options(Videos(videos), fps=25.0)).notes
    assert any("--fps is not used" in note for note in notes)


def test_boxes_behind_the_end_are_left_out_and_counted(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "a.xml").write_text(TRACKS.replace('frame="16"', 'frame="23"'))
    notes = read_annotations(tmp_path / "a.xml", Options(Videos(videos))).notes
    assert notes[-1] == "left out: boxes behind the end of Türe, zu.mp4, which has 20 frames, 1.25 s (3)"


def test_videos_that_are_missing_or_ambiguous(tmp_path: Path, videos: Path) -> None:
    (tmp_path / "a.xml").write_text(TRACKS.replace("zu.mp4", "auf.mp4"))
    with pytest.raises(DataError, match=r"videos: has none of the 1 annotated videos: Türe, auf\.mp4"):
        read_annotations(tmp_path / "a.xml", Options(Videos(videos)))
    (tmp_path / "a.xml").write_text(TRACKS)
    (videos / "Türe, zu.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"several videos have that name") as error:
        read_annotations(tmp_path / "a.xml", Options(Videos(videos), video="night/Türe, zu.mp4"))
    assert "day" in str(error.value)
    with pytest.raises(DataError, match="annotations have numbers of frames, and times need a rate: give --videos"):
        read_annotations(tmp_path / "a.xml", Options())


def test_frames_that_label_studio_counts_differently(tmp_path: Path, videos: Path) -> None:
    """It has a rate of its own, so its times count; a turned box needs the shape of the picture."""
    sequence = [
        {"frame": 5, "x": 50, "y": 50, "width": 25, "height": 10, "rotation": 90, "time": 0.4, "enabled": False}
    ]
    value = {"sequence": sequence, "labels": ["walk"], "framesCount": 15, "duration": 1.25}
    result = [{"id": "a", "type": "videorectangle", "value": value}]
    tasks = [{"data": {"video": "/data/upload/1/0a1b2c3d-Türe, zu.mp4"}, "annotations": [{"result": result}]}]
    (tmp_path / "a.json").write_text(json.dumps(tasks))
    found = read_annotations(tmp_path / "a.json", Options(Videos(videos)))
    assert found.boxes == [BoxRow("day/Türe, zu.mp4", 0.4, (0.4, 0.5, 0.5, 0.75), "a", "walk")]
    assert (
        "Türe, zu.mp4: Label Studio counts 15 frames, the file has 20; times are those of Label Studio" in found.notes
    )


def test_segments_of_boxes_end_where_nobody_has_looked() -> None:
    def doing(time: float, action: str, person: str = "0") -> BoxRow:
        return BoxRow("a", time, (0, 0, 1, 1), person, action)

    rows = [doing(t, "walk") for t in (0, 1, 2)] + [
        doing(2, "wave", "1"),
        BoxRow("a", 3),
        doing(7, "walk"),
        BoxRow("a", 8),
    ]
    assert [tuple(row) for row in segments_of_boxes(rows)] == [
        ("a", 0, 3, "walk"), ("a", 2, 3, "wave"), ("a", 7, 8, "walk")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.xml", "-o", "boxes.csv"], "missing.xml: does not exist"),
        (["a.xm", "-o", "boxes.csv"], "a.xm: does not exist; did you mean 'a.xml'?"),
        (["a.xml", "-o", "boxes.txt"], "-o boxes.txt: must end in .csv (boxes) or .json (segments)"),
        (["a.xml", "-o", "boxes.csv", "--fps", "0"], "Invalid value for '--fps'"),
        (["a.xml", "-o", "boxes.csv", "--format", "voc"], "the outermost element must be <annotation>"),
        ([".", "-o", "boxes.csv"], "has files of several formats (a.xml is cvat, b.csv is ava)"),
        (["empty", "-o", "boxes.csv"], "empty: has no files that end in .csv, .json, .xml"),
        (["a.xml", "-o", "boxes.csv", "--times", "frames"], "a.xml: is cvat, which has names and times"),
        (["b.csv", "-o", "boxes.csv", "--first-frame", "1"], "b.csv: is ava, which has no names of frames"),
        (["b.csv", "-o", "b.csv"], "b.csv: is an input and would be overwritten"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.xml").write_text(TRACKS)
    Path("b.csv").write_text("a,1,0,0,1,1,1,1\n")
    Path("empty").mkdir()
    assert run(*arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())
