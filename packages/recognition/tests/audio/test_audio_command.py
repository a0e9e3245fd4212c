"""``vidcore audio``: features of folders in files, resumed, with bad files named; ``vidcore demo audio``."""

from __future__ import annotations

import csv
import json
import os
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from vid_recognition.audio.demo import FPS, RATE, SECONDS, SOUNDS, sound
from vid_recognition.audio.logmel import log_mel, read_log_mel
from vidcore.cli import run
from vidcore.video.audio import open_audio
from vidcore.video.open import open_video

SOUND = 0.3 * np.sin(np.arange(16000) ** 1.5 / 200)


@pytest.fixture
def folder(tmp_path: Path, with_sound: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Videos in two folders, one of them without sound, and a broken file."""
    for name in ("run/a.mp4", "jump/a.mp4", "jump/b.wav"):
        (tmp_path / "videos" / name).parent.mkdir(parents=True, exist_ok=True)
        with_sound(tmp_path / "videos" / name, SOUND, 16000, "pcm_s16le" if "wav" in name else "aac", picture=False)
    with_sound(tmp_path / "videos/run/mute.mp4", None, 16000)
    (tmp_path / "videos/run/zero.mkv").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_features_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audio", "videos", "-o", "out"]) == 2, "two files are bad"
    said = capsys.readouterr()
    assert said.out.splitlines()[-1] == "out: log-mel features of 3 videos: 3 new, 2 cannot be read"
    assert "wrote out/jump/a.npy: " in said.out
    assert "skipped: videos/run/mute.mp4: has no audio" in said.err
    failed = [json.loads(line)["file"] for line in Path("out/failures.jsonl").read_text().splitlines()]
    assert failed == ["videos/run/mute.mp4", "videos/run/zero.mkv"]
    made = {str(path.relative_to("out")): np.load(path) for path in Path("out").rglob("*.npy")}
    assert sorted(made) == ["jump/a.npy", "jump/b.npy", "run/a.npy"]
    for name, features in made.items():
        (source,) = Path("videos").glob(name.replace(".npy", ".[mw]*"))
        np.testing.assert_array_equal(features, read_log_mel(str(source)))
    assert json.loads(Path("out/audio.json").read_text())["rows_per_second"] == 62.5


def test_an_interrupted_extraction_resumes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("list.txt").write_text("videos/run/a.mp4\n\nvideos/jump/b.wav\n")
    assert run(["audio", "list.txt", "-o", "out", "--shard", "1/2"]) == 0
    assert run(["audio", "list.txt", "-o", "out"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("2 videos: 1 new, 1 already there")
    later = time.time_ns() + 10**9
    os.utime("videos/run/a.mp4", ns=(later, later))
    assert run(["audio", "list.txt", "-o", "out"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("1 new, 1 already there"), "a file that has changed"
    assert run(["audio", "list.txt", "-o", "out", "--overwrite"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("2 videos: 2 new")
    Path("out/.a.npy.999999999.tmp").write_bytes(b"part")
    Path("out/audio.json").write_text('{"rate": 22050}')
    assert run(["audio", "list.txt", "-o", "out"]) == 2
    assert "out: holds features of a different kind, see audio.json" in capsys.readouterr().err
    assert not Path("out/.a.npy.999999999.tmp").exists()


def test_names_that_clash_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audio", "videos/run/a.mp4", "videos/jump/a.mp4", "-o", "out"]) == 2
    assert "jump/a.mp4 and videos/run/a.mp4: features are named after files" in capsys.readouterr().err
    assert run(["audio", "videos/run/a.mp4", "videos/run", "-o", "out"]) == 2, "the same file twice is one"
    assert "features of 1 videos: 1 new, 2 cannot be read" in capsys.readouterr().out


def test_the_demo_trains_and_predicts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "audio", str(tmp_path / "d"), "--videos-per-class", "2"]) == 0
    assert "8 training and 8 validation videos" in capsys.readouterr().out
    assert (tmp_path / "d/classes.txt").read_text().split() == list(SOUNDS)
    task = tomllib.loads((tmp_path / "d/task.toml").read_text())
    assert task["model"]["cls_head"]["num_classes"] == len(SOUNDS)
    rows = csv.DictReader((tmp_path / "d/val.csv").read_text().splitlines())
    assert sorted(row["label"] for row in rows) == sorted(SOUNDS)
    videos = sorted((tmp_path / "d/videos").iterdir())
    assert {path.suffix for path in videos} == {".mp4"}
    with open_video(videos[0]) as video, open_audio(videos[0]) as audio:
        assert (len(video), video.fps) == (SECONDS * FPS, FPS)
        assert (audio.rate, audio.channels) == (RATE, 1)
        assert audio.duration == pytest.approx(SECONDS, abs=0.1)
    assert run(["check", str(tmp_path / "d/task.toml")]) == 0
    options = [
        "--set",
        "train.epochs=1",
        "--set",
        "model.backbone.num_stages=1",
        "--set",
        "model.cls_head.in_channels=32",
    ]
    assert run(["run", str(tmp_path / "d/task.toml"), *options]) == 0
    release = ["publish", str(tmp_path / "d/run"), "--dir", str(tmp_path)]
    assert run(release) == 0
    (file,) = tmp_path.glob("*.safetensors")
    capsys.readouterr()
    assert run(["predict", str(file), str(videos[0]), "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["classes"][0]) >= {"class", "score"}


def test_a_class_of_the_demo_cannot_be_heard_in_a_moment() -> None:
    """Bands averaged over time do not tell whether the pitch rises or falls."""
    means = {
        label: np.mean([log_mel([sound(label, np.random.default_rng(n))[None]], RATE).mean(0) for n in range(6)], 0)
        for label in SOUNDS
    }
    assert abs(means["rising"] - means["falling"]).mean() < 0.02
    assert abs(means["fading"] - means["swelling"]).mean() < 0.02
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(means["rising"], means["beeping"], atol=0.02)
