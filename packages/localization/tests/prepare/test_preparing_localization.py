"""Conversion of official downloads, merging of features, and generation of proposals."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from vid_localization.datasets.activitynet import ActivityNetDataset
from vid_localization.datasets.charades import CharadesSTADataset
from vid_localization.results import write_boundaries
from vid_localization.transforms.loading import LoadProposals
from vidcore.cli import cli
from vidcore.errors import UserError
from vidcore.features.files import FeatureInfo


def vidcore(*arguments: object) -> str:
    result = CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def database(folder: Path, name: str) -> None:
    entries = {
        f"video{i}": {"duration": 10.0 + i, "subset": subset, "annotations": [{"segment": [1, 2], "label": f"c{i}"}]}
        for i, subset in enumerate(("training", "training", "validation"))
    }
    entries["video3"] = {"duration": 9.0, "subset": "testing"}
    (folder / name).write_text(json.dumps({"database": entries, "version": "1"}))


@pytest.mark.parametrize(
    ("command", "file", "prefix"),
    [("activitynet", "activity_net.v1-3.min.json", "anet_anno"), ("hacs", "HACS_segments_v1.1.1.json", "hacs_anno")],
)
def test_official_databases(tmp_path: Path, command: str, file: str, prefix: str) -> None:
    database(tmp_path, file)
    out = tmp_path / "out"
    output = vidcore("data", "prepare", command, tmp_path, "-o", out)
    assert output.count("wrote") == 6
    train = ActivityNetDataset(out / f"{prefix}_train.json", classes=out / "classes.txt")
    assert [train[i].key for i in range(len(train))] == ["v_video0", "v_video1"]
    assert train[1].duration == 11.0
    assert train.class_names == ("c0", "c1", "c2")
    assert [len(ActivityNetDataset(out / f"{prefix}_{part}.json")) for part in ("trainval", "full")] == [3, 4]
    unlabelled = ActivityNetDataset(out / f"{prefix}_test.json")[0].segments.spans
    assert unlabelled is not None
    assert unlabelled.shape == (0, 2)


def test_only_videos_with_files(tmp_path: Path) -> None:
    database(tmp_path, "activity_net.v1-3.min.json")
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "v_video1.csv").touch()
    output = vidcore("data", "prepare", "activitynet", tmp_path, "-o", tmp_path, "--files", tmp_path / "features")
    assert "3 of 4 videos have no file and are left out" in output
    assert len(ActivityNetDataset(tmp_path / "anet_anno_full.json")) == 1
    assert not (tmp_path / "anet_anno_val.json").exists()


def test_activitynet_with_rescaled_features(tmp_path: Path) -> None:
    actions = {"v_a": {"duration_second": 1, "annotations": [{"segment": [1.0, 2.0], "label": "x"}]}}
    (tmp_path / "anet_anno_action.json").write_text(json.dumps(actions))
    (tmp_path / "video_info_new.csv").write_text(
        "video,numFrame,seconds,fps,rfps,subset,featureFrame\nv_a,1253,62.5,20,20.05,training,1248\n"
    )
    vidcore("data", "prepare", "activitynet", tmp_path, "-o", tmp_path)
    sample = ActivityNetDataset(tmp_path / "anet_anno_train.json")[0]
    assert sample.duration == 62.5
    assert sample.total_frames == 1253
    assert sample.feature_duration == pytest.approx(1248 / 1253 * 62.5)


def test_thumos_tables_and_durations_of_videos(tmp_path: Path) -> None:
    tables, videos = tmp_path / "annotations_val" / "annotation", tmp_path / "videos"
    tables.mkdir(parents=True)
    videos.mkdir()
    (tables / "Diving_val.txt").write_text("video_validation_1  0.2 0.5\nvideo_validation_2 0.1 0.3\n")
    (tables / "Ambiguous_val.txt").write_text("video_validation_1 0.6 0.7\nvideo_validation_3 0.6 0.7\n")
    (videos / "video_validation_3.mp4").write_bytes(b"no video")
    writer = cv2.VideoWriter(str(videos / "video_validation_1.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (64, 48))
    for level in range(8):
        writer.write(np.full((48, 64, 3), level * 20, np.uint8))
    writer.release()
    (videos / "video_validation_1.txt").write_text("subtitles")
    vidcore("data", "prepare", "thumos14", tmp_path, "-o", tmp_path / "plain")
    assert len(ActivityNetDataset(tmp_path / "plain" / "thumos14_val.json")) == 3
    output = vidcore("data", "prepare", "thumos14", tmp_path, "-o", tmp_path / "out", "--videos", videos)
    assert "1 of 3 videos have no file" in output
    assert f"left out: {videos / 'video_validation_3.mp4'}: cannot be opened" in output
    data = ActivityNetDataset(tmp_path / "out" / "thumos14_val.json")
    assert data.class_names == ("Diving",)
    assert (tmp_path / "out" / "classes.txt").read_text() == "Diving\n"
    sample = data[0]
    np.testing.assert_array_equal(sample.extra["ambiguous"].spans, [[0.6, 0.7]])
    assert (sample.total_frames, sample.fps) == (8, 10.0)
    assert sample.duration == pytest.approx(0.8)
    np.testing.assert_array_equal(sample.segments.spans, [[0.2, 0.5]])


def test_missing_charades_tables_are_made(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"charades_sta_{part}.txt").write_text(f"AB 1.0 3.0##a person {part}s.\n")
    for name, value in (("duration", 8), ("fps_dict", 25), ("frames_info", 200)):
        (tmp_path / f"Charades_{name}.json").write_text(json.dumps({"AB": value}))
    out = tmp_path / "out"
    vidcore("data", "prepare", "charades-sta", tmp_path, "-o", out)
    assert json.loads((out / "Charades_word2id.json").read_text()) == {"a": 1, "person": 2, "tests": 3, "trains": 4}
    tables = (out / f"Charades_{name}.json" for name in ("word2id", "fps_dict", "duration", "frames_info"))
    assert CharadesSTADataset(out / "Charades_sta_test.txt", *tables, 16, 0.5)[0].text.tokens.tolist() == [
        1,
        2,
        3,
    ]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("activitynet", "needs activity_net.v1-3.min.json"),
        ("hacs", "has no HACS_segments_v1.1.1.json"),
        ("thumos14", "has no tables like BaseballPitch_val.txt"),
        ("charades-sta", "has no file like Charades_sta_train.txt"),
    ],
)
def test_folders_without_the_download_are_refused(tmp_path: Path, command: str, message: str) -> None:
    result = CliRunner().invoke(cli, ["data", "prepare", command, str(tmp_path), "-o", str(tmp_path / "out")])
    assert result.exit_code != 0
    assert message in str(result.exception)


INFO = "video,numFrame,seconds,subset\n"
CHARADES = {f"charades_sta_{part}.txt": "AB 1.0 3.0##a person runs." for part in ("train", "test")}
CHARADES |= {f"Charades_{name}.json": '{"AB": 25}' for name in ("duration", "fps_dict", "frames_info")}


@pytest.mark.parametrize(
    ("command", "files", "message"),
    [
        ("activitynet", {"activity_net.v1-3.min.json": '{"database": {}}'}, "the annotations have no videos"),
        ("activitynet", {"video_info_new.csv": f"{INFO}v_a,250\n"}, "video_info_new.csv: v_a: seconds: None is no"),
        ("activitynet", {"video_info_new.csv": f"{INFO}v_a,0,10,training\n"}, "v_a: numFrame must be above 0, got 0"),
        ("activitynet", {"video_info_new.csv": "\udcff"}, "video_info_new.csv: is not UTF-8 text"),
        ("thumos14", {"Diving_val.txt": "\udcff"}, "Diving_val.txt: is not UTF-8 text"),
        ("thumos14", {"Diving_val.txt": "v 1 inf\n"}, "Diving_val.txt:1: 'inf' is not a number"),
        ("thumos14", {"Diving_val.txt": "v 1\n"}, "Diving_val.txt:1: must be 'video start end', got 'v 1'"),
        (
            "charades-sta",
            {**CHARADES, "charades_sta_test.txt": "AB 1.0##x"},
            "test.txt:1: must be 'video start end##",
        ),
        (
            "charades-sta",
            {**CHARADES, "Charades_duration.json": "{}"},
            "txt:1: the duration of 'AB' is not known",
        ),
        ("charades-sta", {**CHARADES, "charades_sta_train.txt": "\udcff"}, "charades_sta_train.txt: is not UTF-8 text"),
    ],
)
def test_damaged_downloads_are_refused(tmp_path: Path, command: str, files: dict[str, str], message: str) -> None:
    for name, text in ({"anet_anno_action.json": "{}"} | files).items():
        (tmp_path / name).write_text(text, "utf-8", "surrogateescape")
    result = CliRunner().invoke(cli, ["data", "prepare", command, str(tmp_path), "-o", str(tmp_path / "out")])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)


def test_rgb_and_flow_are_merged(tmp_path: Path) -> None:
    for name, channels, length in (("rgb", 3, 9), ("flow", 2, 8)):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "v_a.npy", np.full((length, channels), channels, np.float32))
    folders = tmp_path / "rgb", tmp_path / "flow"
    output = vidcore("data", "convert-features", *folders, "-o", tmp_path / "out", "--length", 5, "--format", "csv")
    assert "wrote 1 files with 5 channels" in output
    lines = (tmp_path / "out" / "v_a.csv").read_text().splitlines()
    assert lines == ["f0,f1,f2,f3,f4", *["3,3,3,2,2"] * 5]
    FeatureInfo(video="a.mp4", settings="", frames=100, duration=10.0, feature_duration=10.0, rows=9, channels=3).write(
        tmp_path / "rgb" / "v_a.npy"
    )
    vidcore("data", "convert-features", *folders, "-o", tmp_path / "out", "--length", 5, "--format", "csv")
    lines = (tmp_path / "out" / "v_a.csv").read_text().splitlines()
    assert lines == ["time,f0,f1,f2,f3,f4", *[f"{time},3,3,3,2,2" for time in (1, 3, 5, 7, 9)]]
    assert FeatureInfo.read(tmp_path / "out" / "v_a.csv").rows == 5
    result = CliRunner().invoke(cli, ["data", "convert-features", *map(str, folders), "-o", str(tmp_path / "rgb")])
    assert "is an input folder; choose another output folder" in str(result.exception)
    result = CliRunner().invoke(cli, ["data", "convert-features", *map(str, folders), "-o", str(tmp_path / "out")])
    assert "differ in length" in str(result.exception)
    np.save(tmp_path / "rgb" / "v_b.npy", np.ones((2, 2)))
    result = CliRunner().invoke(cli, ["data", "convert-features", *map(str, folders), "-o", str(tmp_path / "out")])
    assert "1 of 2 videos are missing, for example v_b" in str(result.exception)
    (tmp_path / "rgb" / "v_b.csv").write_text("f0,f1\n1,1\n")
    result = CliRunner().invoke(cli, ["data", "convert-features", *map(str, folders), "-o", str(tmp_path / "out")])
    assert "are features of the same video; remove one" in str(result.exception)


def test_proposals_are_generated_once(tmp_path: Path) -> None:
    annotations = {"v_a": {"duration_second": 20.0, "annotations": [{"segment": [2.0, 9.0], "label": "x"}]}}
    (tmp_path / "anno.json").write_text(json.dumps(annotations))
    (tmp_path / "tem").mkdir()
    rng = np.random.default_rng(0)
    edges = np.arange(21) / 20
    write_boundaries(tmp_path / "tem" / "v_a.csv", np.column_stack((rng.random((20, 3)), edges[:-1], edges[1:])))
    arguments = "data", "proposals", tmp_path / "anno.json", tmp_path / "tem", "-o", tmp_path / "pgm", "--top-k", 12
    assert "proposals of 1 videos" in vidcore(*arguments)
    table = tmp_path / "pgm" / "pgm_proposals" / "v_a.csv"
    before = table.stat().st_mtime_ns
    vidcore(*arguments)
    assert table.stat().st_mtime_ns == before
    step = LoadProposals(12, table.parent, tmp_path / "pgm" / "pgm_features")
    found = step(ActivityNetDataset(tmp_path / "anno.json")[0], rng)
    assert found.inputs["features"].array.shape == (12, 32)
    assert (np.diff(found.proposals.scores) <= 1e-6).all()
    assert found.targets["overlaps"].array.max() > 0.2
