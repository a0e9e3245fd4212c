"""``vidcore predict``: views, outputs by suffix, windows along a video, drawn videos."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import matplotlib
import numpy as np
import pytest
import torch

from vid_recognition import demo
from vid_recognition.demo import render_video
from vidcore import Predictor
from vidcore.cli import run
from vidcore.engine.checkpoint import save
from vidcore.errors import UserError, VideoError
from vidcore.plugins.catalog import load_plugins
from vidcore.predict.windows import Window, predict_windows
from vidcore.task.task import Task
from vidcore.video.frames import ArrayReader
from vidcore.video.open import open_video
from vidcore.video.synthetic import MOTIONS, write_video

FPS = 16

DEMO = Path(demo.__file__).with_name("demo.toml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Task, random weights, two videos of two seconds, one of eight, and one that cannot be read."""
    folder = tmp_path_factory.mktemp("predict")
    (folder / "task.toml").write_text(DEMO.read_text())
    (folder / "classes.txt").write_text("\n".join(MOTIONS))
    (folder / "videos").mkdir()
    for number, name in enumerate(("a", "b")):
        write_video(folder / "videos" / f"{name}.mp4", render_video("left", 0, number))
    write_video(folder / "long.mp4", (f for number in range(4) for f in render_video("up", 1, number)))
    (folder / "bad.mp4").write_bytes(b"no video")
    torch.manual_seed(0)
    save(folder / "w.pt", {"state_dict": Task.load(folder / "task.toml", load_plugins()).build("model").state_dict()})
    return folder


@pytest.fixture
def predict(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(folder)

    def command(*arguments: object, code: int = 0) -> tuple[str, str]:
        assert run(["predict", "task.toml", *map(str, arguments), "-c", "w.pt"]) == code, capsys.readouterr()
        found = capsys.readouterr()
        return found.out, found.err

    return command


@pytest.fixture(scope="module")
def predictor(folder: Path) -> Iterator[Predictor]:
    with Predictor(folder / "task.toml", folder / "w.pt", batch_size=3) as predictor:
        yield predictor


# Views


def test_one_view_by_default(predict: Any, folder: Path) -> None:
    video = "videos/a.mp4"
    out, err = predict(video)
    assert err == "1 view per video (1 clip x 1 crop); --views test: 3 (3 clips x 1 crop)\n"
    every, err = predict(video, "--views", "test")
    assert err == "3 views per video (3 clips x 1 crop)\n"
    assert out != every
    (tested,) = Predictor(folder / "task.toml", folder / "w.pt", views="test")([folder / video])
    assert f"{tested.scores.max():8.4f}" in every


def test_fewer_names_than_outputs(predict: Any, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("a\nb\n")
    setting = f'data.classes="{tmp_path / "few.txt"}"'
    _, err = predict("videos/a.mp4", "--set", setting, code=2)
    assert "few.txt: task has 2 class names, but its model predicts 8 classes" in err


# Outputs


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_outputs_by_suffix(predict: Any, tmp_path: Path) -> None:
    names = [tmp_path / f"x.{suffix}" for suffix in ("csv", "json", "jsonl", "txt")]
    out, err = predict("videos", "bad.mp4", "--top", 2, *(part for name in names for part in ("-o", name)), code=2)
    assert "bad.mp4: " in err
    assert out == "" and all(f"wrote {name}" in err for name in names)
    rows = table(names[0])
    assert list(rows[0]) == ["video", "class", "score", "error"]
    assert [row["video"] for row in rows] == ["videos/a.mp4"] * 2 + ["videos/b.mp4"] * 2 + ["bad.mp4"]
    assert not rows[0]["error"] and rows[-1]["error"] and not rows[-1]["class"]
    records = json.loads(names[1].read_text())
    assert records == [json.loads(line) for line in names[2].read_text().splitlines()]
    assert [record["video"] for record in records] == ["videos/a.mp4", "videos/b.mp4", "bad.mp4"]
    best = records[0]["classes"][0]
    assert (best["class"], best["score"]) == (rows[0]["class"], float(rows[0]["score"]))
    assert names[3].read_text().splitlines()[0] == "videos/a.mp4"


def test_a_bad_video_before_the_others(predict: Any, tmp_path: Path) -> None:
    predict("bad.mp4", "videos/a.mp4", "--top", 1, "-o", tmp_path / "x.csv", code=2)
    bad, good = table(tmp_path / "x.csv")
    assert bad["video"] == "bad.mp4" and bad["error"] and good["class"] in MOTIONS
    predict("bad.mp4", "-o", tmp_path / "y.csv", "-o", tmp_path / "y.json", code=2)
    assert len(table(tmp_path / "y.csv")) == len(json.loads((tmp_path / "y.json").read_text())) == 1


def test_pictures_need_windows(predict: Any, tmp_path: Path) -> None:
    assert "see --window" in predict("videos/a.mp4", "-o", tmp_path / "x.png", code=2)[1]
    assert "see --window" in predict("videos/a.mp4", "--stride", "1s", code=2)[1]


# Along a video


def spans(found: list[Window]) -> list[tuple[float | None, float | None]]:
    return [(None if w.start is None else round(w.start, 6), None if w.end is None else round(w.end, 6)) for w in found]


def test_windows_as_rows(predict: Any, tmp_path: Path) -> None:
    paths = [tmp_path / "w.csv", tmp_path / "w.json", tmp_path / "w.png"]
    _, err = predict(
        "long.mp4", "--window", "2s", "--stride", "1.5s", "--top", 2, *(p for path in paths for p in ("-o", path))
    )
    assert "1 view per window" in err and f"wrote {paths[2]}" in err
    rows = table(paths[0])
    assert list(rows[0]) == ["video", "start", "end", "class", "score", "error"]
    assert [float(row["start"]) for row in rows[::2]] == [0, 1.5, 3, 4.5, 6]
    assert [float(row["end"]) for row in rows[::2]] == [2, 3.5, 5, 6.5, 8]
    records = json.loads(paths[1].read_text())
    assert [r["classes"][1]["class"] for r in records] == [row["class"] for row in rows[1::2]]
    assert paths[2].read_bytes()[1:4] == b"PNG"
    out, _ = predict("long.mp4", "--window", "2s")
    assert out.splitlines()[0] == "long.mp4" and out.splitlines()[1].startswith("      0.00 to     2.00 s  ")
    assert len(out.splitlines()) == 5


def test_a_window_is_a_video_of_its_own(predictor: Predictor, folder: Path) -> None:
    with open_video(folder / "long.mp4") as video:
        frames = video.read(range(len(video)))
    found = list(predict_windows(predictor, folder / "long.mp4", "40f", "24f"))
    assert [w.frames for w in found] == [(0, 40), (24, 64), (48, 88), (72, 112), (96, 128)]
    alone = predictor([frames[first:stop] for first, stop in (w.frames for w in found)])
    for window, sample in zip(found, alone, strict=True):
        np.testing.assert_allclose(window.sample.scores, sample.scores, rtol=1e-5, atol=1e-6)
    assert [(w.number, w.count) for w in found] == [(k, 5) for k in range(5)]
    assert {w.sample.path for w in found} == {str(folder / "long.mp4")}


@pytest.mark.parametrize(
    ("window", "stride", "expected"),
    [
        ("20s", "1s", [(0, 8)]),  # longer than the video
        ("1s", "3s", [(0, 1), (3, 4), (6, 7)]),  # gaps
        ("0.05s", "4s", [(0, 0.05), (4, 4.05)]),  # shorter than a frame
        ("3s", None, [(0, 3), (3, 6), (6, 8)]),  # the last one is shorter
        ("48f", "3s", [(0, 3), (3, 6), (6, 8)]),
        ("3s", "64f", [(0, 3), (4, 7)]),
    ],
)
def test_lengths(predictor: Predictor, folder: Path, window: str, stride: str | None, expected: Any) -> None:
    assert spans(list(predict_windows(predictor, folder / "long.mp4", window, stride))) == expected


def test_frames_are_decoded_once(predictor: Predictor, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_video(folder / "long.mp4") as video:
        frames = video.read(range(len(video)))
    asked: list[int] = []
    read = ArrayReader.read

    def counting(self: ArrayReader, indices: Any) -> Any:
        asked.extend(map(int, indices))
        return read(self, indices)

    monkeypatch.setattr(ArrayReader, "read", counting)
    found = list(predict_windows(predictor, frames, "32f", "4f"))
    assert len(found) == 25 and spans(found)[0] == (None, None)
    assert asked == sorted(set(asked))


def test_a_variable_frame_rate(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "variable.mkv"
    # 2 s at 20 frames per second, one frame that stands for 3 s, and 2 s at 10
    times = [*(k * 50 for k in range(40)), 2000, *(5000 + k * 100 for k in range(20))]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.time_base = 96, 96, Fraction(1, 1000)
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times):
            frame = av.VideoFrame.from_ndarray(np.full((96, 96, 3), number * 4, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    found = list(predict_windows(predictor, path, "1s"))
    assert [w.frames for w in found[:6]] == [(0, 20), (20, 40), (40, 41), (40, 41), (40, 41), (41, 51)]
    assert found[6].frames == (51, 61)
    assert spans(found)[:7] == [(k, k + 1) for k in range(6)] + [(6, pytest.approx(7, abs=0.1))]


def test_errors_of_windows(predictor: Predictor, folder: Path, tmp_path: Path, predict: Any) -> None:
    frames = np.zeros((8, 96, 96, 3), np.uint8)
    with pytest.raises(VideoError, match="has no frame rate, which 1s requires"):
        list(predict_windows(predictor, frames, "1s"))
    with pytest.raises(UserError, match=r"stride 0\.01s: is shorter than a frame of"):
        list(predict_windows(predictor, folder / "long.mp4", "1s", "0.01s"))
    with pytest.raises(UserError, match="window 'x': must be a number of frames"):
        list(predict_windows(predictor, folder / "long.mp4", "x"))
    out, err = predict("bad.mp4", "videos/a.mp4", "--window", "1s", code=2)
    assert out.splitlines()[1].startswith("  cannot be read") and out.splitlines()[2] == "videos/a.mp4"
    assert "1 of 2 videos cannot be read" in err


def test_steps_that_open_the_file_again_are_refused(folder: Path) -> None:
    resize = 'resize={type="Resize",scale=[48,48],keep_ratio=false}'
    decode = f'{{imgs={{decode={{type="Decode"}},{resize},format={{type="FormatShape",input_format="NCTHW"}}}}}}'
    changed = ["data.val.pipeline.decode=false", "data.val.pipeline.resize=false", "data.val.pipeline.format=false"]
    changed += [f'data.val.pipeline.both={{type="Branches",branches={decode}}}']
    with (
        Predictor(folder / "task.toml", folder / "w.pt", overrides=changed) as predictor,
        pytest.raises(UserError, match="neither a path nor an open video"),
    ):
        list(predict_windows(predictor, folder / "long.mp4", "1s"))


# Drawn videos


def drawn_frames(path: Path) -> list[np.ndarray[Any, Any]]:
    with open_video(path) as video:
        return list(video.read(range(len(video))))


def test_videos_are_drawn(predict: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "drawn"
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif-Bold.ttf"
    _, err = predict("videos", "bad.mp4", "--draw", out, "--drawer", "LabelDrawer", code=2)
    assert [line for line in err.splitlines() if "drawn" in line] == [f"wrote {out}/a.mp4", f"wrote {out}/b.mp4"]
    assert sorted(p.name for p in out.iterdir()) == ["a.mp4", "b.mp4"]
    first, second = drawn_frames(out / "a.mp4"), drawn_frames(out / "b.mp4")
    with open_video(folder / "videos" / "a.mp4") as before:
        assert len(before) == len(first)
    assert first[0].shape == (288, 288, 3) and (first[0] != second[0]).any()
    predict("videos/a.mp4", "--draw", tmp_path / "other", "--font", font)
    assert (drawn_frames(tmp_path / "other" / "a.mp4")[0] != first[0]).any()


def test_labels_of_windows_are_drawn(predict: Any, tmp_path: Path) -> None:
    _, err = predict("long.mp4", "bad.mp4", "--window", "2s", "--top", 2, "--draw", tmp_path, code=2)
    assert f"wrote {tmp_path}/long.mp4" in err
    frames = drawn_frames(tmp_path / "long.mp4")
    assert len(frames) == 4 * 2 * FPS
    corners = [frame[:40, :60].astype(int) for frame in frames]
    assert np.abs(corners[0] - corners[20]).mean() < np.abs(corners[20] - corners[40]).mean()


def test_what_cannot_be_drawn_is_refused_before_predicting(predict: Any, folder: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("--draw", folder / "videos"), r"has the input a\.mp4; choose another folder"),
        (("--drawer", "LabelDrawer"), "--drawer: requires --draw FOLDER"),
        (("--draw", tmp_path, "--drawer", "LabelDrawr"), "did you mean 'LabelDrawer'"),
        (("--draw", tmp_path, "--font", folder / "w.pt"), "is not a readable font"),
        (("--draw", tmp_path, "--drawer", "TimelineDrawer"), "no drawer can draw this prediction"),
    ):
        out, err = predict("videos/a.mp4", *arguments, code=2)
        assert re.search(message, err), err
        assert not out or "TimelineDrawer" in arguments
