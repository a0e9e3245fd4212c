"""Annotation files and their errors."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.datasets.charades import CharadesSTADataset
from vid_localization.datasets.words import split_words
from vidcore.data.wrappers import ConcatDataset, RepeatDataset
from vidcore.errors import AnnotationError, DataError
from vidcore.task.notes import data_notes

VIDEO: dict[str, Any] = {
    "duration_second": 10.0,
    "duration_frame": 250,
    "feature_frame": 240,
    "fps": 25.0,
    "annotations": [{"segment": [1.5, 4.0], "label": "run"}, {"segment": [6, 8], "label": "dance"}],
}


def written(folder: Path, content: Any) -> Path:
    path = folder / "anno.json"
    path.write_text(json.dumps(content))
    return path


def test_json_of_the_published_layout(tmp_path: Path) -> None:
    data = ActivityNetDataset(written(tmp_path, {"v_a": VIDEO, "v_b": {"annotations": []}}), Path("features"))
    assert data.class_names == ("dance", "run")
    assert data.num_classes == 2
    assert data.notes() == []
    first, second = data[0], data[1]
    assert first.path == "features/v_a.csv"
    assert first.key == "v_a"
    assert (first.duration, first.total_frames, first.fps) == (10.0, 250, 25.0)
    assert first.feature_duration == pytest.approx(9.6)
    np.testing.assert_array_equal(first.segments.spans, [[1.5, 4.0], [6.0, 8.0]])
    np.testing.assert_array_equal(first.segments.labels, [1, 0])
    assert second.segments is not None
    assert second.segments.spans.shape == (0, 2)
    assert (second.duration, second.total_frames) == (None, None)


def test_official_files_and_their_subsets(tmp_path: Path) -> None:
    database = {
        "a": {"duration": 5, "subset": "training", "annotations": [{"segment": [0, 1], "label": "x"}]},
        "b": {"duration": 6, "subset": "validation", "annotations": []},
    }
    path = written(tmp_path, {"version": "1.3", "database": database, "taxonomy": []})
    assert len(ActivityNetDataset(path)) == 2
    data = ActivityNetDataset(path, subset="training", suffix=".npy")
    assert [(s.path, s.duration) for s in (data[0],)] == [("a.npy", 5.0)]
    assert len(data) == 1
    with pytest.raises(DataError, match="has no videos of subset 'test'; there are training, validation"):
        ActivityNetDataset(path, subset="test")


def test_csv_gives_the_same_videos(tmp_path: Path) -> None:
    path = tmp_path / "segments.csv"
    path.write_text("video,start,end,label,duration\na b.mp4,1.5,4,run,10\nempty,,,,7\na b.mp4,6,8,dance,\n")
    data = ActivityNetDataset(path, suffix="")
    assert [s.path for s in (data[0], data[1])] == ["a b.mp4", "empty"]
    assert (data[0].duration, data[1].duration) == (10.0, 7.0)
    np.testing.assert_array_equal(data[0].segments.spans, [[1.5, 4.0], [6.0, 8.0]])
    assert data[1].segments is not None
    assert len(data[1].segments) == 0


WRONG = [[-1, 2], [3, 3], [5, 4], [2, 4], [3, 5], [3, 5], [8, 12], [11, 12]]


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    annotations = [{"segment": segment, "label": "x"} for segment in WRONG]
    return written(tmp_path, {"v": {"duration_second": 10, "annotations": annotations}})


def test_invalid_segments_are_reported_and_repaired(wrong: Path) -> None:
    data = ActivityNetDataset(wrong)
    np.testing.assert_array_equal(data[0].segments.spans, [[0, 2], [2, 4], [3, 5], [8, 10]])
    found = dict(line.removeprefix(f"{wrong}: v: segment ").split(": ", 1) for line in data.problems)
    assert found == {
        "0": "-1 to 2 s starts before the video of 10 s",
        "1": "3 to 3 s has no length and overlaps another of its class",
        "2": "5 to 4 s ends before it starts",
        "4": "3 to 5 s overlaps another of its class",
        "5": "3 to 5 s is repeated",
        "6": "8 to 12 s reaches beyond the end of the video of 10 s",
        "7": "11 to 12 s overlaps another of its class and starts after the end of the video of 10 s",
    }
    assert data.notes()[0].startswith(f"7 segments look wrong, for example {wrong}: v: segment 0")


def test_invalid_segments_can_be_kept_or_refused(wrong: Path) -> None:
    data = ActivityNetDataset(wrong, bad_segments="keep")
    np.testing.assert_array_equal(data[0].segments.spans, WRONG)
    assert len(data.problems) == 7
    with pytest.raises(AnnotationError, match=r"anno\.json: v: segment 0: -1 to 2 s"):
        ActivityNetDataset(wrong, bad_segments="raise")


def test_segments_of_different_videos_and_classes_do_not_overlap(tmp_path: Path) -> None:
    entries = {
        "a": {"annotations": [{"segment": [0, 9], "label": "x"}, {"segment": [1, 2], "label": "y"}]},
        "b": {"annotations": [{"segment": [0, 9], "label": "x"}, {"segment": [9, 12], "label": "x"}]},
    }
    assert ActivityNetDataset(written(tmp_path, entries)).problems == ()


def test_ambiguous_is_not_a_class_unless_listed(tmp_path: Path) -> None:
    annotations = [{"segment": [6, 8], "label": "Ambiguous"}, *VIDEO["annotations"]]
    path = written(tmp_path, {"v_a": {**VIDEO, "annotations": annotations}, "v_b": VIDEO})
    for data in (ActivityNetDataset(path), ActivityNetDataset(path, classes=["dance", "run"])):
        assert data.class_names == ("dance", "run")
        np.testing.assert_array_equal(data[0].segments.spans, [[1.5, 4.0], [6.0, 8.0]])
        np.testing.assert_array_equal(data[0].segments.labels, [1, 0])
        np.testing.assert_array_equal(data[0].extra["ambiguous"].spans, [[6, 8]])
        assert "ambiguous" not in data[1].extra
    data = ActivityNetDataset(path, classes=["Ambiguous", "dance", "run"], indices=[0])
    np.testing.assert_array_equal(data[0].segments.labels, [0, 2, 1])
    only = {"v": {"annotations": [{"segment": [6, 8], "label": "Ambiguous"}]}}
    assert ActivityNetDataset(written(tmp_path, only))[0].segments.spans.shape == (0, 2)


def test_a_video_listed_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.json"
    path.write_text('{"database": {"a": {"annotations": []}, "b": {}, "a": {}}}')
    with pytest.raises(AnnotationError, match=r"twice.json: a: is listed twice"):
        ActivityNetDataset(path)


def test_proposals_of_a_different_network(tmp_path: Path) -> None:
    proposals = [[0.25, 0.5, 0.9], [0, 1, 0.1]]
    path = written(tmp_path, {"v_a": VIDEO, "v_b": {**VIDEO, "proposals": proposals}})
    for sample in (ActivityNetDataset(path)[1], ActivityNetDataset(path, indices=[1])[0]):
        np.testing.assert_allclose(sample.proposals.spans, [[2.4, 4.8], [0, 9.6]])  # features cover 9.6 seconds
        np.testing.assert_array_equal(sample.proposals.scores, [0.9, 0.1])
    assert ActivityNetDataset(path)[0].proposals is None
    with pytest.raises(AnnotationError, match=r"anno.json: v: proposals are fractions of the duration, which"):
        ActivityNetDataset(written(tmp_path, {"v": {"annotations": [], "proposals": proposals}}))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({**VIDEO, "proposals": [[0, 1]]}, "anno.json: v: proposal 0: must be start, end and score"),
        ({**VIDEO, "proposals": {"a": 1}}, "anno.json: v: proposal 0: must be start, end and score"),
        ({**VIDEO, "proposals": [[0, 1, 1], [0, 8.5, 1]]}, "anno.json: v: proposal 1: start and end must be fractions"),
        ([], "anno.json: v: must be a JSON object"),
        ({"annotations": {}}, "anno.json: v: annotations must be a list"),
        ({"annotations": [{"label": "x"}]}, "anno.json: v: segment 0: needs 'segment'"),
        ({"annotations": [{"segment": [0, "late"], "label": "x"}]}, "anno.json: v: segment 0: 'late' is not a number"),
        ({"annotations": [{"segment": [0, 1]}]}, "anno.json: v: segment 0: needs 'label'"),
        ({"duration_second": 0, "annotations": []}, "anno.json: v: duration_second must be above 0"),
        ({"feature_frame": -16, "annotations": []}, "anno.json: v: feature_frame must be above 0, got -16"),
        ({"annotation": []}, "anno.json: v: has no 'annotations'"),
        ({"annotations": [{"segment": [0, True], "label": "x"}]}, "anno.json: v: segment 0: True is not a number"),
        ({"annotations": [{"segment": [0, 10**400], "label": "x"}]}, "0 is not a number"),
        ({"annotations": [{"segment": [0, 1], "label": " "}]}, "anno.json: v: segment 0: needs 'label'"),
        ({"annotations": [{"segment": [0, 1], "label": "dnce"}]}, "not one of the 2 classes; did you mean 'dance'?"),
    ],
)
def test_invalid_entries_are_refused(tmp_path: Path, entry: Any, message: str) -> None:
    with pytest.raises(AnnotationError) as error:
        ActivityNetDataset(written(tmp_path, {"v": entry}), classes=["dance", "run"])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video,begin,end,label\n", "s.csv:1: the header must name video, start, end, label; start is missing"),
        ("video,start,end,label\na,1,2,\n", "s.csv: a: segment 0 (line 2): has no label"),
        ("video,start,end,label\na,1,2,x\na,1,two,x\n", "s.csv: a: segment 1 (line 3): 'two' is not a number"),
        ("video,start,end,label\n,1,2,x\n", "s.csv:2: a video needs a name"),
        ("video,start,end,label\na,1,2, \n", "s.csv: a: segment 0 (line 2): has no label"),
        ("video;start;end;label\na;1;2;x\n", "found video;start;end;label (the separator must be a comma)"),
        (
            'video,start,end,label\na,1,2,"x\nb,1,2,x\n',
            "s.csv:2: unexpected end of data: is a quotation mark",
        ),
        ("video,start,end,label,duration\na,1,2,x,-5\n", "s.csv: a: segment 0 (line 2): duration must be above 0"),
        (
            "video,start,end,label,fps\na,1,2,x,25\na,3,4,x,30\n",
            "(line 3): fps is 30, but 25 in an earlier row",
        ),
        (
            "video,start,end,label,duration\na,100,200,x,20\n",
            "segment 0: 100 to 200 s starts after the end",
        ),
        ("video,start,end,label\na,1,2,x\na.mp4,1,2,x\n", "s.csv: a.mp4: a has the same name"),
        ("video,start,end,label\nf/a.mp4,1,2,x\ng/a.mp4,1,2,x\n", "s.csv: g/a.mp4: f/a.mp4 has the same name"),
    ],
)
def test_invalid_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "s.csv"
    path.write_text(text)
    with pytest.raises(AnnotationError) as error:
        ActivityNetDataset(path)
    assert message in str(error.value)


def test_feature_files_are_found_for_videos_in_folders(tmp_path: Path) -> None:
    path = tmp_path / "s.csv"
    path.write_text("video, start, end, label\nparties/first party.mp4, 1, 2, x\nframes/second, 1, 2, x\n")
    data = ActivityNetDataset(path, Path("features"), suffix=".npy")
    assert [data[i].path for i in range(2)] == ["features/first party.npy", "features/frames/second.npy"]
    assert data[0].key == "first party"
    assert ActivityNetDataset(path, Path("videos"), suffix=".mp4")[0].path == "videos/parties/first party.mp4"


def test_videos_without_a_file_are_noted(tmp_path: Path) -> None:
    path = written(tmp_path, dict.fromkeys(("v_a", "v_b", "v_c"), VIDEO))
    assert ActivityNetDataset(path, tmp_path).notes() == []  # all are missing: not needed, or an error follows
    (tmp_path / "v_b.csv").touch()
    assert ActivityNetDataset(path, tmp_path).notes() == [
        f"2 of 3 videos have no file, for example {tmp_path / 'v_a.csv'}"
    ]


def test_a_file_without_segments_is_noted(tmp_path: Path) -> None:
    assert ActivityNetDataset(written(tmp_path, {"v_a": {"annotations": []}})).notes() == [
        "no video has a segment: there is nothing to learn or to score"
    ]


def test_missing_and_empty_files(tmp_path: Path) -> None:
    written(tmp_path, {})
    with pytest.raises(DataError, match=r"does not exist; did you mean 'anno\.json'"):
        ActivityNetDataset(tmp_path / "ann.json")
    with pytest.raises(DataError, match="has no videos"):
        ActivityNetDataset(tmp_path / "anno.json")
    (tmp_path / "anno.tsv").write_text("video\tstart\tend\tlabel\n")
    with pytest.raises(AnnotationError, match=r"anno\.tsv: is not JSON, and a table must be named \.csv"):
        ActivityNetDataset(tmp_path / "anno.tsv")
    (tmp_path / "deep.json").write_text("[" * 200_000)
    with pytest.raises(AnnotationError, match=r"deep\.json: is not JSON"):
        ActivityNetDataset(tmp_path / "deep.json")


def test_indices_and_fingerprint(tmp_path: Path) -> None:
    path = written(tmp_path, {f"v{i}": {"annotations": [{"segment": [i, i + 1], "label": "x"}]} for i in range(5)})
    whole, last = ActivityNetDataset(path), ActivityNetDataset(path, indices=-2)
    assert [s.key for s in (last[0], last[1])] == ["v3", "v4"]
    np.testing.assert_array_equal(last[1].segments.spans, [[4, 5]])
    assert ActivityNetDataset(path, indices=[1, 4])[1].key == "v4"
    assert whole.fingerprint() == pickle.loads(pickle.dumps(whole)).fingerprint() != last.fingerprint()


# Charades-STA


@pytest.fixture
def charades(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "queries.txt").write_text("AB 1.0 3.0##a man sits.\nCD 2 12##he doesn't run, he sits.\n")
    words = ["a", "man", "sits", "he", "does", "n't", "run", ","]
    (tmp_path / "words.json").write_text(json.dumps({word: i for i, word in enumerate(words, 1)}))
    for name, values in (("fps", (25, 30)), ("duration", (8, 10)), ("frames", (200, 300))):
        (tmp_path / f"{name}.json").write_text(json.dumps(dict(zip(("AB", "CD"), values, strict=True))))
    files = {"word2id_file": "words", "fps_file": "fps", "duration_file": "duration", "num_frames_file": "frames"}
    paths = {key: tmp_path / f"{name}.json" for key, name in files.items()}
    return {"ann_file": tmp_path / "queries.txt", "window_size": 16, "ft_overlap": 0.5, **paths}


def test_sentence_samples(charades: dict[str, Any]) -> None:
    data = CharadesSTADataset(**charades)
    sample = data[1]
    assert sample.path == "CD.pt"
    assert sample.text.strings == ("he doesn't run, he sits.",)
    assert sample.text.tokens.tolist() == [4, 5, 6, 7, 8, 4, 3]
    np.testing.assert_array_equal(sample.segments.spans, [[2, 10]])  # clipped to the video, and reported
    assert "reaches beyond the end" in data.problems[0]
    assert sample.proposals is not None
    assert sample.proposals.spans.shape == (32, 2)
    assert sample.proposals.spans[-1, 1] == pytest.approx(299 / 300 * 10)
    assert sample.extra["parts"].features[-1].tolist() == [int(289 / 8), int(299 / 8)]
    assert len(CharadesSTADataset(**charades, indices=1)) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("AB 1.0 3.0 a man sits.", "queries.txt:1: must be 'video start end##sentence'"),
        ("AC 1.0 3.0##a man sits.", "queries.txt:1: the duration of 'AC' is not known"),
        ("AB 1.0 3.0##a men sits.", "queries.txt:1: the table of words has no 'men'; did you mean 'man'?"),
        ("AB 1.0 3.0##.", "queries.txt:1: the sentence is empty"),
    ],
)
def test_invalid_sentences_are_refused(charades: dict[str, Any], line: str, message: str) -> None:
    charades["ann_file"].write_text(line)
    with pytest.raises(AnnotationError) as error:
        CharadesSTADataset(**charades)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("table", "content", "message"),
    [
        ("frames", '{"AB": 200}', r"queries\.txt:2: the number of frames of 'CD' is not known"),
        ("duration", '{"AB": 8, "CD": null}', r"duration\.json: CD: None is not a number"),
        ("frames", '{"AB": 0, "CD": 300}', r"frames\.json: AB must be above 0, got 0"),
        ("fps", "{", r"fps\.json: is not JSON"),
        ("words", '{"a": "one"}', r"words\.json: a: 'one' is not a number"),
        ("words", '{"a": 1.5}', r"words\.json: a must be a whole number from 1 to 2147483647, got 1\.5"),
        ("words", '{"a": true}', r"words\.json: a: True is not a number"),
    ],
)
def test_invalid_charades_tables_are_refused(charades: dict[str, Any], table: str, content: str, message: str) -> None:
    charades["fps_file"].with_name(f"{table}.json").write_text(content)
    with pytest.raises(AnnotationError, match=message):
        CharadesSTADataset(**charades)


def test_sentences_must_be_utf8(charades: dict[str, Any]) -> None:
    charades["ann_file"].write_bytes(b"\xff\xfe")
    with pytest.raises(AnnotationError, match=r"queries\.txt: is not UTF-8 text"):
        CharadesSTADataset(**charades)
    charades["fps_file"].write_text("{}")
    charades["ann_file"].write_text("AB 1.0 3.0##a man sits.", "utf-8-sig")
    assert CharadesSTADataset(**charades)[0].fps is None


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("person's cup, they've said.", ["person", "'s", "cup", ",", "they", "'ve", "said"]),
        ("he cannot wanna go?", ["he", "can", "not", "wan", "na", "go", "?"]),
        ("opens (a) door; 10,000 times", ["opens", "(", "a", ")", "door", ";", "10,000", "times"]),
        ("the dogs' bowl", ["the", "dogs", "'", "bowl"]),
    ],
)
def test_split_words(sentence: str, words: list[str]) -> None:
    assert split_words(sentence) == words


def test_notes_and_leaks_pass_through_wrappers(tmp_path: Path) -> None:
    rows = "video,start,end,label,duration\na,1,9,x,5\nb,1,2,x,5\n"
    (tmp_path / "train.csv").write_text(rows)
    (tmp_path / "val.csv").write_text(rows.replace("a,1,9", "c,1,2"))
    train, val = (ActivityNetDataset(tmp_path / f"{part}.csv", tmp_path) for part in ("train", "val"))
    found = data_notes({"train": RepeatDataset(ConcatDataset([train]), 2), "val": val})
    assert [note.partition(",")[0] for note in found] == [
        "data.train: 1 segment looks wrong",
        "data.val: 1 of its 2 videos are in data.train as well",
    ]
