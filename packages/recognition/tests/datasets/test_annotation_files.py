"""Every format of annotation files, and every error in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vid_recognition.datasets.rawframe import RawframeDataset
from vid_recognition.datasets.video import VideoDataset
from vidcore.errors import AnnotationError, DataError


@pytest.fixture
def write(tmp_path):
    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def entries(dataset):
    return [(s.path, s.label if s.labels is None else np.flatnonzero(s.labels).tolist()) for s in dataset]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.txt", "a.mp4 1\nb.mp4 0\n"),
        ("no_end.txt", "a.mp4 1\nb.mp4 0"),
        ("windows.txt", "a.mp4 1\r\nb.mp4 0\r\n"),
        ("mark.txt", b"\xef\xbb\xbfa.mp4 1\nb.mp4 0\n"),
        ("blank.txt", "\na.mp4 1\n\n  \nb.mp4 0\n\n"),
        ("padded.txt", "  a.mp4   1  \nb.mp4\t0\n"),
        ("no_header.csv", "a.mp4,1\nb.mp4, 0\n"),
        ("header.csv", "path,label\na.mp4,1\nb.mp4,0\n"),
        ("all_quoted.csv", '"path","label"\n"a.mp4","1"\n"b.mp4","0"\n'),
        ("order.csv", "label,split,path\n1,train,a.mp4\n\n0,train,b.mp4\n"),
        ("quoted.csv", 'path,label\r\n"a.mp4","1"\r\nb.mp4, 0\r\n'),
        ("tabs.tsv", "path\tlabel\na.mp4\t1\nb.mp4\t0\n"),
        ("lines.jsonl", '{"path": "a.mp4", "label": 1}\n\n{"label": 0, "path": "b.mp4", "fps": 25}\n'),
    ],
)
def test_same_content_in_every_format(write, name, content):
    dataset = VideoDataset(write(name, content))
    assert entries(dataset) == [("a.mp4", 1), ("b.mp4", 0)]
    assert [s.index for s in dataset] == [0, 1]
    assert dataset.num_classes is None
    assert dataset.class_names is None


def test_names_with_spaces_and_digits(write):
    content = "my clips/a b.mp4 3\nclip 12.mp4 4\n2019 03 05/x.mp4 5\nholiday 20190305123456 6\n"
    assert entries(VideoDataset(write("list.txt", content))) == [
        ("my clips/a b.mp4", 3),
        ("clip 12.mp4", 4),
        ("2019 03 05/x.mp4", 5),
        ("holiday 20190305123456", 6),
    ]


def test_names_in_csv_may_contain_the_delimiter(write):
    dataset = VideoDataset(write("list.csv", 'path,label\n"one, two.mp4",1\n'))
    assert entries(dataset) == [("one, two.mp4", 1)]


def test_names_that_are_not_utf8(write):
    dataset = VideoDataset(write("list.txt", b"caf\xe9.mp4 1\n"))
    assert dataset[0].path.encode("utf-8", "surrogateescape") == b"caf\xe9.mp4"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", "a.mp4 1 3\nb.mp4 0\nc d.mp4 2\ne.mp4\n"),
        ("l.csv", "path,label\na.mp4,1;3\nb.mp4,0\nc d.mp4,2\ne.mp4,\n"),
        ("l.csv", "a.mp4,1,3\nb.mp4,0\nc d.mp4,2\ne.mp4\n"),
        (
            "l.jsonl",
            '{"path": "a.mp4", "label": [1, 3]}\n{"path": "b.mp4", "label": [0]}\n'
            '{"path": "c d.mp4", "label": [2]}\n{"path": "e.mp4", "label": []}\n',
        ),
    ],
)
def test_multiple_labels(write, name, content):
    dataset = VideoDataset(write(name, content), multi_class=True, num_classes=4)
    assert entries(dataset) == [("a.mp4", [1, 3]), ("b.mp4", [0]), ("c d.mp4", [2]), ("e.mp4", [])]
    assert dataset[0].label is None
    assert dataset[0].labels.dtype == np.float32


def test_class_names_are_sorted_and_numbered(write):
    dataset = VideoDataset(write("l.csv", "path,label\na.mp4,run\nb.mp4,jump\nc.mp4,run\n"))
    assert dataset.class_names == ("jump", "run")
    assert dataset.num_classes == 2
    assert entries(dataset) == [("a.mp4", 1), ("b.mp4", 0), ("c.mp4", 1)]
    assert dataset[0].class_names == ("jump", "run")


def test_given_classes_set_the_order(write):
    names = write("classes.txt", "run\njump\nrest\n")
    for classes in (names, ["run", "jump", "rest"]):
        dataset = VideoDataset(write("l.csv", "path,label\na.mp4,run\nb.mp4,jump\nc.mp4,2\n"), classes=classes)
        assert entries(dataset) == [("a.mp4", 0), ("b.mp4", 1), ("c.mp4", 2)]
        assert dataset.num_classes == 3


def test_multiple_names(write):
    dataset = VideoDataset(write("l.csv", "path,label\na.mp4,run; jump\nb.mp4,sit\n"), multi_class=True)
    assert dataset.class_names == ("jump", "run", "sit")
    assert entries(dataset) == [("a.mp4", [0, 1]), ("b.mp4", [2])]


@pytest.mark.parametrize("content", ["a.mp4\nb c.mp4\n", "a.mp4 -1\nb c.mp4 -1\n"])
def test_a_file_without_labels(write, content):
    dataset = VideoDataset(write("l.txt", content))
    assert entries(dataset) == [("a.mp4", None), ("b c.mp4", None)]
    assert dataset.labels.tolist() == [-1, -1]


def test_compat_parses_lists_exactly_as_published(write):
    dataset = VideoDataset(write("l.txt", "a.mp4 1\n\nb.mp4\t2\n"), Path("root"), delimiter=" ", compat=True)
    assert entries(dataset) == [("root/a.mp4", 1), ("root/", None), ("root/b.mp4\t2", None)]
    with pytest.raises(AnnotationError, match=r"l\.txt:1: 'b\.mp4' is not an integer"):
        VideoDataset(write("l.txt", "a b.mp4 1\n"), compat=True)


BAD_LISTS = [
    ("l.txt", "a.mp4 1\nb.mp4 3x\n", {}, r"l\.txt:2: no class number in 'b\.mp4 3x'"),
    ("l.txt", "a.mp4 1\nb.mp4 -1\n", {}, r"l\.txt:2: no label for 'b\.mp4'"),
    ("l.txt", "a.mp4 1 2\n", {}, r"l\.txt:1: \[1, 2\] after 'a\.mp4', .*multiple labels need multi_class = true"),
    ("l.txt", "a.mp4,1\n", {}, r"l\.txt:1: no label in 'a\.mp4,1'; delimiter = ',' would find one"),
    ("l.txt", "a b.mp4 run\n", {}, r"l\.txt:1: no class number in 'a b\.mp4 run'; .*the first line of a table"),
    ("l.csv", "a.MP4,run\n", {}, r"l\.csv:1: no class number in 'a\.MP4,run'; .*path,label"),
    ("l.csv", "\npath,label\na.mp4,run\n", {}, r"l\.csv:2: 'path,label' would be read as a file name; the first line"),
    ("l.csv", "Path;Label\na.mp4;run\n", {}, r"l\.csv:1: 'Path;Label' would be read as a file name; .*delimiter"),
    ("l.csv", "a.mp4 1\n", {}, r"l\.csv:1: .*delimiter = ' '"),
    ("l.txt", "a.mp4 1\nb.mp4 5\n", {"num_classes": 5}, r"l\.txt:2: label 5 is out of range; allowed: 0 to 4"),
    ("l.txt", "a.mp4 1\nb.mp4 -3\n", {}, r"l\.txt:2: label -3 is out of range"),
    ("l.csv", "path,label\na,1\n\nb,run,3\n", {}, r"l\.csv:4: 3 columns, but the header has 2"),
    ("l.csv", "path,lable\na,1\n", {}, r"l\.csv:1: no column 'label' among path, lable; did you mean 'lable'"),
    ("l.csv", "file,label\na,1\n", {}, r"l\.csv:1: no column 'path' among file, label"),
    ("l.csv", "path,label,label\na,1,2\n", {}, r"l\.csv:1: duplicate column: path, label, label"),
    ("l.csv", 'path,label\n"a"b,1\n', {}, r"l\.csv:2: "),
    ("l.csv", "path,label\n,1\n", {}, r"l\.csv:2: no file name"),
    (
        "l.csv",
        "path,label\na,runn\n",
        {"classes": ["run", "jump"]},
        r"l\.csv:2: label 'runn' is not one of the 2.*'run'",
    ),
    ("l.jsonl", "{'path'}\n", {}, r"l\.jsonl:1: not JSON"),
    ("deep.jsonl", "[" * 100_000 + "\n", {}, r"deep\.jsonl:1: not JSON that can be read: is nested too deeply"),
    (
        "n.jsonl",
        '{"path": "a.mp4", "label": ' + "9" * 5000 + "}\n",
        {},
        r"n\.jsonl:1: not JSON that can be",
    ),
    ("half.jsonl", '{"path": "\\ud800.mp4", "label": 1}\n', {}, r"half\.jsonl:1: not JSON that can be read"),
    ("l.jsonl", '["a.mp4"]\n', {}, r"l\.jsonl:1: must be an object"),
    ("l.jsonl", '{"pth": "a"}\n', {}, r"l\.jsonl:1: path must be a string, got None; did you mean 'pth'"),
    ("l.jsonl", '{"path": "a", "labels": 1}\n', {}, r"l\.jsonl:1: no key 'label'; did you mean 'labels'"),
    ("l.jsonl", '{"path": "a", "label": 1.5}\n', {}, r"l\.jsonl:1: label must be a number or a name, got 1\.5"),
    ("l.jsonl", '{"path": "a", "label": true}\n', {}, r"l\.jsonl:1: label must be a number or a name, got True"),
    ("l.jsonl", '{"path": "a", "label": [1]}\n', {}, r"l\.jsonl:1: .*need multi_class = true"),
    ("l.jsonl", '{"path": "a", "label": 1}\n', {"multi_class": True}, r"l\.jsonl:1: label must be a list"),
    (
        "l.jsonl",
        '{"path": "a", "label": "x"}\n{"path": "a", "label": 1}\n',
        {},
        r"l\.jsonl:2: label 1 is a number, but",
    ),
    ("l.txt", "a.mp4 1\n".encode("utf-16"), {}, r"l\.txt:1: not a UTF-8 text file"),
    ("l.txt", "a.mp4 0\nb.mp4 1.5\n", {}, r"l\.txt:2: 1\.5 in 'b\.mp4 1\.5' is not a whole number"),
    ("l.txt", "a.mp4 10000000000\n", {}, r"l\.txt:1: 10000000000 in .* is not a whole number"),
    ("l.txt", "a.mp4 999999999\n", {}, r"l\.txt:1: label 999999999 is out of range; allowed: 0 to 99999"),
    ("l.txt", "a.mp4 -2\n", {}, r"l\.txt:1: label -2 is out of range"),
    ("l.csv", "path,label\na,0\nb,1.5\n", {}, r"l\.csv:3: label '1\.5' is not a class number; if it is a name, list"),
    ("l.csv", "path,label\na,0\nb,1e9\n", {}, r"l\.csv:3: label '1e9' is not a class number"),
    ("l.csv", "path,label\na,0\nb,True\n", {}, r"l\.csv:2: label 0 is a number, but others are names"),
    ("l.csv", "path,label\na,999999999\n", {}, r"l\.csv:2: label 999999999 is out of range"),
    ("l.jsonl", '{"path": "a", "label": 1e20}\n', {}, r"l\.jsonl:1: label must be a number or a name, got 1e\+20"),
    ("l.jsonl", '{"path": "a", "label": 100000000000}\n', {}, r"l\.jsonl:1: label 100000000000 is out of range"),
]


@pytest.mark.parametrize(("name", "content", "arguments", "message"), BAD_LISTS)
def test_errors_name_file_and_line(write, name, content, arguments, message):
    with pytest.raises(AnnotationError, match=message):
        VideoDataset(write(name, content), **arguments)


@pytest.mark.parametrize(
    ("content", "arguments", "message"),
    [
        ("", {}, "has no entries"),
        ("\n\n", {}, "has no entries"),
        ("a.mp4 1 2\n", {"multi_class": True}, "needs num_classes"),
        ("a.mp4 1\n", {"classes": ["a", "b"], "num_classes": 3}, "num_classes is 3, but there are 2 class names"),
        ("a.mp4 1\n", {"num_classes": 10**12}, "num_classes is 1000000000000; it must be from 1 to 100000"),
        ("a.mp4 1\n", {"num_classes": -1}, "num_classes is -1; it must be from 1 to 100000"),
        ("a.mp4 1\n", {"indices": [3]}, "indices: index 3 is out of bounds"),
    ],
)
def test_datasets_that_are_refused(write, content, arguments, message):
    with pytest.raises(DataError, match=message):
        VideoDataset(write("l.txt", content), **arguments)


def test_fewer_names_than_num_classes(write):
    with pytest.raises(DataError, match="has 2 class names, but num_classes is 3"):
        VideoDataset(write("l.csv", "path,label\na,x\nb,y\n"), num_classes=3)


def test_missing_file_suggests_the_nearest(write):
    path = write("train.txt", "a 1\n")
    with pytest.raises(DataError, match=r"does not exist; did you mean 'train\.txt'"):
        VideoDataset(path.with_name("trian.txt"))
    with pytest.raises(DataError, match="is a folder"):
        VideoDataset(path.parent)


@pytest.mark.parametrize(
    ("content", "message"),
    [("run\n\njump\n", r"c\.txt:2: an empty"), ("run\nrun\n", r"c\.txt:2: class name 'run' is listed twice")],
)
def test_bad_class_names(write, content, message):
    with pytest.raises(AnnotationError, match=message):
        VideoDataset(write("l.txt", "a 1\n"), classes=write("c.txt", content))
    with pytest.raises(DataError, match="no class names"):
        VideoDataset(write("l.txt", "a 1\n"), classes=[])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", "dir one 120 3\ndir/2 40 1\n"),
        ("l.csv", "path,total_frames,label\ndir one,120,3\ndir/2,40,1\n"),
        ("l.jsonl", '{"path":"dir one","total_frames":120,"label":3}\n{"path":"dir/2","total_frames":40,"label":1}\n'),
    ],
)
def test_folders_of_frames(write, name, content):
    dataset = RawframeDataset(write(name, content), Path("root"), filename_tmpl="{}_{:05d}.jpg", modality="Flow")
    assert entries(dataset) == [("root/dir one", 3), ("root/dir/2", 1)]
    assert [(s.total_frames, s.frame_offset, s.start_index) for s in dataset] == [(120, 0, 1), (40, 0, 1)]
    assert dataset[0].filename_tmpl == "{}_{:05d}.jpg"
    assert dataset[-1].modality == "Flow"


def test_clips_of_longer_videos(write):
    dataset = RawframeDataset(write("l.txt", "a 7 120 3\nb 0 40 1\n"), with_offset=True, indices=-1)
    assert len(dataset) == 1
    assert (dataset[0].path, dataset[0].frame_offset, dataset[0].total_frames, dataset[0].label) == ("b", 0, 40, 1)


@pytest.mark.parametrize(
    ("name", "content", "arguments", "message"),
    [
        ("l.txt", "a 1 20 3\n", {}, r"l\.txt:1: \[1, 20, 3\] after 'a', but a line must be 'path total_frames label'"),
        ("l.txt", "a 20 3\nb\n", {}, r"l\.txt:2: \[\] after 'b'"),
        ("l.txt", "a -20 3\n", {}, r"l\.txt:1: total_frames must not be negative"),
        ("l.csv", "path,label\na,3\n", {}, r"l\.csv:1: no column 'total_frames'"),
        ("l.csv", "path,total_frames\na,many\n", {}, r"l\.csv:2: total_frames must be an integer, got 'many'"),
        ("l.jsonl", '{"path": "a", "total_frames": 2.5}\n', {}, r"l\.jsonl:1: total_frames must be an integer"),
    ],
)
def test_errors_in_lists_of_folders(write, name, content, arguments, message):
    with pytest.raises(AnnotationError, match=message):
        RawframeDataset(write(name, content), **arguments)


def test_a_video_with_two_classes_is_refused_and_repetitions_are_noted(tmp_path):
    file = tmp_path / "train.csv"
    file.write_text("path,label\na.mp4,left\n\nb.mp4,right\n./a.mp4,right\n")
    said = rf"^{file}:5: './a.mp4' has the label 'right', but 'left' in line 2; several labels need multi_class = true$"
    with pytest.raises(AnnotationError, match=said):
        VideoDataset(file)
    several = VideoDataset(file, multi_class=True, classes=["left", "right"])
    assert several.notes() == (
        "1 line has a different label than an earlier line for the same video: "
        f"{file}:5: './a.mp4' has the label 'right', but 'left' in line 2",
    )
    file.write_text("path,label\na.mp4,left\nb.mp4,right\na.mp4,left\nb.mp4,right\n")
    assert VideoDataset(file).notes() == (f"2 lines repeat earlier ones, for example {file}:4 that of line 2",)
    file.write_text("path,label\na.mp4,left\nb.mp4,right\n")
    assert VideoDataset(file).notes() == ()


def test_videos_in_one_folder_of_frames_are_not_the_same(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("a 0 10 1\na 10 10 0\nb 0 5 1\n")
    assert RawframeDataset(file, with_offset=True).notes() == ()
    file.write_text("a 0 10 1\na 0 10 0\n")
    with pytest.raises(AnnotationError, match=r"train.txt:2: 'a' has the label 0, but 1 in line 1"):
        RawframeDataset(file, with_offset=True)


def test_published_lists_may_have_two_classes_for_a_video(tmp_path):
    file = tmp_path / "train.txt"
    file.write_text("a.mp4 1\na.mp4 0\n")
    (note,) = VideoDataset(file, compat=True).notes()
    assert note.endswith(f"the same video: {file}:2: 'a.mp4' has the label 0, but 1 in line 1")
