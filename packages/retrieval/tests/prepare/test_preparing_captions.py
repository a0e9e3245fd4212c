"""``vidcore data prepare msrvtt`` and ``msvd``."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from vid_retrieval.datasets.captions import MSRVTTRetrieval, VideoTextDataset
from vid_retrieval.datasets.questions import MSRVTTVQA
from vid_retrieval.prepare.command import msrvtt, msvd
from vidcore.errors import AnnotationError, DataError


def run(command, *arguments):
    result = CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def official(folder: Path) -> Path:
    folder.mkdir()
    for name, numbers in (("train_val", (0, 1, 6600, 7005)), ("test", (7010, 9999))):
        sentences = [
            {"caption": f"caption {k} of {i}", "video_id": f"video{i}", "sen_id": 20 * i + k}
            for i in numbers
            for k in (0, 1)
        ]
        content = {"info": {}, "videos": [{"video_id": f"video{i}"} for i in numbers], "sentences": sentences}
        (folder / f"{name}_videodatainfo.json").write_text(json.dumps(content))
    table = 'key,vid_key,video_id,sentence\nret0,msr9999,video9999,"a dog, running"\n'
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(table)
    rows = [{"answer": a, "id": i, "question": "what?", "video_id": i, "category_id": 3} for i, a in enumerate("aab")]
    (folder / "train_qa.json").write_text(json.dumps(rows))
    return folder


def test_msrvtt_from_the_official_files(tmp_path):
    output = run(msrvtt, official(tmp_path / "in"), "-o", tmp_path / "out")
    assert "note: msrvtt_full_val.json: 4 captions of 2 of 497 videos" in output
    assert "note: test_JSFUSION.json: 1 captions of 1 of 1000 videos" in output
    assert "note: training videos of 1k-A include 1 of the official test part" in output
    test = VideoTextDataset(tmp_path / "out" / "test_JSFUSION.json")
    assert [(s.path, s.extra["texts"].strings) for s in test] == [("video9999.mp4", ("a dog, running",))]
    assert len(VideoTextDataset(tmp_path / "out" / "train_9k.json")) == 10
    rows = MSRVTTRetrieval(tmp_path / "out" / "msrvtt_ret_train9k.json")
    assert len(rows) == 10 and rows.num_videos == 5
    answers = tmp_path / "out" / "msrvtt_qa_answer_list.json"
    assert json.loads(answers.read_text()) == ["a", "b"]
    assert [s.path for s in MSRVTTVQA(tmp_path / "out" / "msrvtt_qa_train.json", answer_list=answers)][
        2
    ] == "video2.mp4"


def test_videos_without_a_file_are_listed(tmp_path):
    (tmp_path / "videos" / "a").mkdir(parents=True)
    (tmp_path / "videos" / "a" / "video1.webm").touch()
    output = run(msrvtt, official(tmp_path / "in"), "-o", tmp_path / "out", "--videos", tmp_path / "videos")
    assert list(json.loads((tmp_path / "out" / "msrvtt_full_train.json").read_text())) == ["a/video1.webm"]
    assert "note: test_JSFUSION.json is not written: none of its 1 videos has a file and a caption" in output
    assert (tmp_path / "out" / "missing_videos.txt").read_text().split() == [
        "video0", "video6600", "video7005", "video7010", "video9999", "video2",
    ]  # fmt: skip


def test_msvd_from_descriptions_and_lists(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "AllVideoDescriptions.txt").write_text(
        "# header\n\n-4wsuPCjDBc_5_15 a squirrel\n_b_1_2 one\n-4wsuPCjDBc_5_15 nuts\n"
    )
    (folder / "youtube_mapping.txt").write_text("-4wsuPCjDBc_5_15 vid1\n_b_1_2 vid1301\nc_3_4 vid2\n")
    output = run(msvd, folder, "-o", tmp_path / "out")
    assert "msvd_train.json: left out without a caption: c_3_4" in output
    assert json.loads((tmp_path / "out" / "msvd_train.json").read_text()) == {
        "-4wsuPCjDBc_5_15.avi": ["a squirrel", "nuts"]
    }
    for part, clips in {"train": "-4wsuPCjDBc_5_15\n", "val": "c_3_4", "test": "_b_1_2"}.items():
        (folder / f"{part}_list.txt").write_text(clips)
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "vid1.avi").touch()
    run(msvd, folder, "-o", tmp_path / "named", "--videos", tmp_path / "videos")
    assert list(json.loads((tmp_path / "named" / "msvd_train.json").read_text())) == ["vid1.avi"]


def test_msvd_from_the_table_of_all_languages(tmp_path):
    table = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"
    rows = ["a,1,2,1,clean,3,English,a dog", "a,1,2,1,clean,3,German,ein Hund", "b,0,9,1,clean,3,English,"]
    (tmp_path / "corpus.csv").write_text(table + "\n".join(rows))
    (tmp_path / "youtube_mapping.txt").write_text("a_1_2 vid1\nb_0_9 vid1500\n")
    run(msvd, tmp_path, "-o", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "msvd_train.json").read_text()) == {"a_1_2.avi": ["a dog"]}


def test_what_is_missing_or_wrong_is_named(tmp_path):
    with pytest.raises(DataError, match=r"needs train_val_videodatainfo\.json"):
        run(msrvtt, tmp_path, "-o", tmp_path / "out")
    (tmp_path / "test_videodatainfo.json").write_text('{"sentences": [{"video": "video1", "caption": "x"}]}')
    with pytest.raises(AnnotationError, match="sentence 1: has no 'video_id'; it has video, caption"):
        run(msrvtt, tmp_path, "-o", tmp_path / "out")
    with pytest.raises(DataError, match=r"has no AllVideoDescriptions\.txt"):
        run(msvd, tmp_path, "-o", tmp_path / "out")
    (tmp_path / "AllVideoDescriptions.txt").write_text("a_1_2 x\n")
    with pytest.raises(DataError, match=r"needs train_list\.txt"):
        run(msvd, tmp_path, "-o", tmp_path / "out")
    for part in ("train", "val", "test"):
        (tmp_path / f"{part}_list.txt").write_text("a_1_2\n")
    with pytest.raises(DataError, match="1 clips are in the training and the test list: a_1_2"):
        run(msvd, tmp_path, "-o", tmp_path / "out")
