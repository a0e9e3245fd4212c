"""Annotation files of videos and texts."""

import json
import pickle
import re

import pytest

from vid_retrieval.datasets.captions import MSRVTTRetrieval, VideoTextDataset
from vidcore.errors import AnnotationError, DataError
from vidcore.records import Cut

TABLE = 'video,text\na.mp4,"a dog, running"\nb.mp4,a cat\r\na.mp4,Ein Hund läuft\n'


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")
    return path


def listed(dataset):
    return [(s.path, s.extra["texts"].strings, s.extra["texts"].video) for s in dataset]


def test_a_table_gives_a_sample_per_text_or_per_video(tmp_path):
    file = write(tmp_path, "own.csv", TABLE)
    pairs = VideoTextDataset(file, tmp_path)
    a, b = str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4")
    assert listed(pairs) == [(a, ("a dog, running",), 0), (b, ("a cat",), 1), (a, ("Ein Hund läuft",), 0)]
    assert list(pairs.sample_paths()) == [a, b, a]
    videos = VideoTextDataset(file, tmp_path, per="video")
    assert listed(videos) == [(a, ("a dog, running", "Ein Hund läuft"), 0), (b, ("a cat",), 1)]
    assert videos[1].extra["texts"].ids.tolist() == [2]
    assert videos.notes() == ["3 texts of 2 videos"]
    assert listed(pickle.loads(pickle.dumps(videos))) == listed(videos)


def test_parts_of_a_video_are_videos_of_their_own(tmp_path):
    rows = [
        {"video": "a.mp4", "text": ["one", "uno"], "start": 0, "end": 2.5},
        {"video": "a.mp4", "caption": "two", "start": 2.5, "end": 4},
        {"video": "a.mp4", "text": "eins", "start": 0, "end": 2.5},
    ]
    file = write(tmp_path, "own.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    dataset = VideoTextDataset(file, per="video")
    assert [(s.key, s.cut) for s in dataset] == [("a_0_2.5", Cut(0, 2.5)), ("a_2.5_4", Cut(2.5, 4))]
    assert dataset[0].extra["texts"].strings == ("one", "uno", "eins")
    assert VideoTextDataset(file, per="entry", indices=-1)[0].extra["texts"].strings == ("eins",)


def test_texts_that_describe_several_videos_are_counted(tmp_path):
    file = write(tmp_path, "own.json", {"a.mp4": ["dog", "dog", "wolf"], "b.mp4": ["dog"], "c.mp4": []})
    assert VideoTextDataset(file).notes() == [
        "4 texts of 2 videos",
        "3 texts describe several videos, each of which counts as right",
        "1 videos have no text and are left out",
    ]


def test_the_rows_of_a_published_list_belong_to_their_video(tmp_path):
    rows = [{"video": "v1.mp4", "caption": "A dog!"}, {"video": "v1.mp4", "caption": ["It's", "two-fold"]}]
    dataset = MSRVTTRetrieval(write(tmp_path, "train.json", rows))
    assert [s.extra["texts"].strings for s in dataset] == [("a dog",), ("its", "two fold")]
    assert [s.extra["texts"].video for s in dataset] == [0, 0]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "video,text\na.mp4,x\nb.mp4,\n", "a.csv:3: has no 'text'; it has video"),
        ("a.csv", "video,texts\na.mp4,x\n", "a.csv:2: has no 'text'; it has video, texts; did you mean 'texts'?"),
        ("a.csv", "video,text\na.mp4,x,y\n", "a.csv:2: has 3 columns, the header 2 (video, text); put quotes around"),
        ("a.csv", 'video,text\na.mp4,"x\n', "a.csv:2: is not CSV: unexpected end of data"),
        ("a.jsonl", '{"video": "a.mp4", "text": "x"}\n{"video"\n', "a.jsonl:2: is not JSON"),
        ("a.jsonl", '{"video": "a.mp4", "text": " "}', "a.jsonl:1: a text is empty"),
        ("a.jsonl", '{"video": "a.mp4", "text": ["x", 3]}', "a.jsonl:1: a text must be a string, got 3"),
        ("a.jsonl", '{"video": "a.mp4", "text": "\\udc80"}', "a.jsonl:1: '\\udc80' is not valid Unicode"),
        ("a.jsonl", '{"video": "a.mp4", "text": "x", "start": 3}', "a.jsonl:1: has 'start' alone"),
        (
            "a.jsonl",
            '{"video": "a", "text": "x", "start": 3, "end": 2}',
            "a.jsonl:1: a part must have 0 <= start < end",
        ),
        ("a.jsonl", '{"video": "a", "text": "x", "start": "NaN", "end": 2}', "a.jsonl:1: start: 'NaN' is not a number"),
        ("a.json", [{"video": "a.mp4", "sentence": "x"}], "a.json: entry 1: has no 'text'; it has video, sentence"),
        ("a.json", ["a.mp4"], "a.json: entry 1: must be an object such as"),
        ("a.json", "[1", "a.json: is not JSON"),
    ],
)
def test_entries_that_are_not_valid_are_named(tmp_path, name, content, message):
    with pytest.raises(AnnotationError, match=re.escape(message)):
        VideoTextDataset(write(tmp_path, name, content))


def test_files_without_texts_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"a\.json has no texts"):
        VideoTextDataset(write(tmp_path, "a.json", {"a.mp4": []}))
    with pytest.raises(DataError, match=r"does not exist; did you mean 'a\.json'"):
        VideoTextDataset(tmp_path / "b.json")
    with pytest.raises(AnnotationError, match="nothing remains of the text '!!' without punctuation"):
        MSRVTTRetrieval(write(tmp_path, "m.json", [{"video": "a.mp4", "caption": "!!"}]))
    (tmp_path / "l.csv").write_bytes(b"video,text\na.mp4,caf\xe9\n")
    with pytest.raises(AnnotationError, match=r"l\.csv: is not UTF-8"):
        VideoTextDataset(tmp_path / "l.csv")
