"""``vidcore features``: resumed, shared, killed, and with bad input."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vidcore.features.files import FeatureInfo, read_features
from vidcore.features.folder import FeatureFolder

SETS = ["--set", "model.backbone.base_channels=2", "--set", "model.cls_head.in_channels=8"]
TRAIN = [*SETS, "--set", "train.epochs=1", "--set", "data.val.pipeline.sample.num_clips=1"]
Command = Callable[..., Any]


@pytest.fixture(scope="module")
def data(call: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen videos, a Task, weights in ``best.pt``, and features of all videos from one run."""
    folder = tmp_path_factory.mktemp("features")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert call("demo", "recognition", "demo", "--videos-per-class", "2") == 0
        assert call("run", "demo/task.toml", "--dir", "run", *TRAIN) == 0
        shutil.copy("run/checkpoints/best.pt", "best.pt")
        assert call(*command("whole")) == 0
    return folder


@pytest.fixture
def here(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("demo", "best.pt", "whole"):
        (shutil.copytree if (data / name).is_dir() else shutil.copy)(data / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(output: str, *more: str, videos: str = "demo/videos") -> list[str]:
    return ["features", "demo/task.toml", videos, "-c", "best.pt", "-o", output, "--stride", "4", *SETS, *more]


def contents(folder: str | Path) -> dict[str, bytes]:
    """Features and their JSON files, by name."""
    return {
        path.name: path.read_bytes() for path in Path(folder).glob("[!.]*") if path.suffix in (".npy", ".json", ".csv")
    }


def test_written_files(here: Path) -> None:
    assert len(list(Path("whole").glob("*.npy"))) == 16
    features = read_features(Path("whole/left_001.npy"))
    assert features.shape == (8, 8)
    note = FeatureInfo.read(Path("whole/left_001.npy"))
    assert note is not None
    assert (note.frames, note.fps, note.duration, note.feature_duration) == (32, 16.0, 2.0, 2.0)
    assert (note.rows, note.channels, note.video) == (8, 8, "demo/videos/left_001.mp4")


def test_class_scores_instead_of_features(here: Path, vidcore: Command) -> None:
    first = "demo/videos/left_001.mp4"
    assert vidcore(*command("logits", "--logits", videos=first)).code == 0
    assert read_features(Path("logits/left_001.npy")).shape == (8, 8)
    said = "logits was True and is not set"
    vidcore(*command("logits", videos=first)).refuses(f"logits: holds features with different settings: {said}")
    assert FeatureFolder.load(Path("logits")).settings["logits"] is True


def test_resuming_makes_only_missing_features(here: Path, vidcore: Command) -> None:
    before = contents("whole")
    Path("whole/up_001.npy").unlink()
    Path("whole/down_001.json").unlink()
    answer = vidcore(*command("whole"))
    assert answer.code == 0
    assert "features of 16 videos: 2 new, 14 already there" in answer.out
    assert contents("whole") == before
    shutil.copy("demo/videos/left_001.mp4", "demo/videos/up_001.mp4")  # now a different video
    assert "1 new, 15 already there" in vidcore(*command("whole")).out
    assert np.array_equal(np.load("whole/up_001.npy"), np.load("whole/left_001.npy"))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--stride", "0.5s"], "stride was '4' and is '0.5s'"),
        (["--rescale", "10"], "length was not set and is 10"),
        (["--format", "csv"], "format was 'npy' and is 'csv'"),
        (["--set", "data.val.pipeline.sample.clip_len=4"], r"pipeline\.sample\.clip_len was 8 and is 4"),
    ],
)
def test_different_settings_are_refused(here: Path, vidcore: Command, more: list[str], said: str) -> None:
    before = contents("whole")
    vidcore(*command("whole", *more)).refuses(f"whole: holds features with different settings: {said}; .*--overwrite")
    assert contents("whole") == before
    assert vidcore(*command("whole", *more, "--overwrite")).code == 0
    assert "0 new, 16 already" in vidcore(*command("whole", *more)).out
    assert {Path(name).stem for name in contents("whole")} == {Path(name).stem for name in before}
    assert len(contents("whole")) == 32, "two files for every video"
    assert all(new != before[name] for name, new in contents("whole").items() if name.endswith(".json"))


def test_features_with_unknown_settings_are_not_added_to(here: Path, vidcore: Command) -> None:
    assert vidcore("data", "convert-features", "whole", "--output", "scaled", "--length", "5").code == 0
    before = contents("scaled")
    vidcore(*command("scaled")).refuses("scaled: holds features .*: the settings of .*npy are unknown")
    assert contents("scaled") == before


def test_different_weights_are_different_settings(here: Path, vidcore: Command) -> None:
    assert vidcore("run", "demo/task.toml", "--dir", "other", *TRAIN, "--set", "runtime.seed=1").code == 0
    shutil.copy("other/checkpoints/best.pt", "best.pt")
    vidcore(*command("whole")).refuses("whole: holds features .*: sha256 was")


def test_a_killed_process_leaves_complete_files_and_can_resume(here: Path, data: Path, vidcore: Command) -> None:
    line = [sys.executable, "-m", "vidcore", *command("killed", "--workers", "1", "--batch-size", "1")]
    for wanted in (1, 6):
        process = subprocess.Popen(line, stdout=subprocess.DEVNULL, start_new_session=True)
        while len(list(Path("killed").glob("*.json"))) < wanted and process.poll() is None:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, "it finished before it was killed"
        for note in Path("killed").glob("*.json"):
            features = read_features(note.with_suffix(".npy"))
            assert list(features.shape) == [json.loads(note.read_text())[key] for key in ("rows", "channels")]
    answer = vidcore(*command("killed", "--batch-size", "1"))
    assert re.search(r"features of 16 videos: \d+ new, \d+ already there", answer.out)
    assert vidcore(*command("straight", "--batch-size", "1")).code == 0
    written = {name: data for name, data in contents("killed").items() if not name.endswith(".tmp")}
    assert written == contents("straight")


def test_two_processes_write_what_one_writes(here: Path) -> None:
    torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    Path("demo/videos/up_001.mp4").write_bytes(b"no video")
    done = subprocess.run(
        [*torchrun, "-m", "vidcore", *command("shared")], capture_output=True, text=True, timeout=300, check=False
    )
    assert "shared: features of 15 videos: 15 new, 1 cannot be read" in done.stdout, done.stderr
    assert "1 of 16 videos cannot be read" in done.stderr
    assert done.returncode != 0
    assert contents("shared") == {k: v for k, v in contents("whole").items() if not k.startswith("up_001")}


def test_shards_write_what_one_run_writes(here: Path, vidcore: Command) -> None:
    Path("demo/videos/up_001.mp4").write_bytes(b"no video")
    answers = [vidcore(*command("shared", "--shard", shard)) for shard in ("1/3", "2/3", "3/3")]
    assert "features of 5 videos: 5 new, 1 cannot be read" in answers[0].out  # up_001 is the last of 16
    assert [a.code for a in answers] == [2, 0, 0]
    assert contents("shared") == {k: v for k, v in contents("whole").items() if not k.startswith("up_001")}
    assert [path.name for path in Path("shared").glob("failures*")] == ["failures-1-of-3.jsonl"]
    shutil.copy("demo/videos/left_001.mp4", "demo/videos/up_001.mp4")
    assert "1 new, 15 already there" in vidcore(*command("shared")).out
    assert not list(Path("shared").glob("failures*"))
    for wrong in ("0/2", "3/2", "half"):
        vidcore(*command("shared", "--shard", wrong)).refuses(f"shard '{wrong}': must be i/n with i from 1 to n")


def test_different_settings_are_refused_during_a_run(here: Path, vidcore: Command) -> None:
    script = """
import sys
from pathlib import Path
from vidcore.features.folder import FeatureFolder
with FeatureFolder.load(Path("whole")).claim():
    print("claimed", flush=True)
    sys.stdin.read()
"""
    holder = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "claimed\n"
    try:
        assert "0 new, 16 already there" in vidcore(*command("whole")).out, "the same settings"
        vidcore(*command("whole", "--stride", "8", "--overwrite")).refuses(
            "whole: another process is making features there with different settings: stride was '4' and is '8'"
        )
    finally:
        holder.communicate()
    assert vidcore(*command("whole", "--stride", "8", "--overwrite")).code == 0


def test_bad_videos_are_reported_and_do_not_stop_the_others(here: Path, vidcore: Command) -> None:
    videos = Path("demo/videos")
    (videos / "up_001.mp4").write_bytes(b"")
    whole = (videos / "down_001.mp4").read_bytes()
    (videos / "down_001.mp4").write_bytes(whole[: len(whole) // 3])
    Path("list.txt").write_text("demo/videos/left_001.mp4\n\ndemo/videos/gone.mp4\ndemo/videos/up_001.mp4\n")
    answer = vidcore(*command("some", videos="list.txt"))
    answer.refuses("2 of 3 videos cannot be read")
    assert re.search(r"skipped: demo/videos/gone\.mp4: ", answer.err)
    assert re.search(r"skipped: demo/videos/up_001\.mp4: .*empty", answer.err)
    assert contents("some").keys() == {"left_001.npy", "left_001.json"}
    listed = [json.loads(line) for line in Path("some/failures.jsonl").read_text().splitlines()]
    assert [row["file"] for row in listed] == ["demo/videos/gone.mp4", "demo/videos/up_001.mp4"]
    assert "does not exist" in listed[0]["error"]
    shutil.copy("demo/videos/left_001.mp4", "demo/videos/up_001.mp4")
    shutil.copy("demo/videos/left_001.mp4", "demo/videos/gone.mp4")
    assert "2 new, 1 already there" in vidcore(*command("some", videos="list.txt")).out
    assert not Path("some/failures.jsonl").exists(), "no failures this time"
    (videos / "up_001.mp4").write_bytes(b"")
    (videos / "gone.mp4").unlink()
    vidcore(*command("all")).refuses("2 of 16 videos cannot be read")
    assert len(list(Path("all").glob("*.npy"))) == 14


def test_user_errors_are_one_line(here: Path, vidcore: Command) -> None:
    Path("nothing").mkdir()
    Path("empty.txt").write_text("\n")
    Path("twice").mkdir()
    shutil.copy("demo/videos/up_001.mp4", "twice/up_001.avi")
    vidcore(*command("out", videos="nothing")).refuses("nothing: has no videos below it")
    vidcore(*command("out", videos="gone")).refuses("gone: no such file or folder")
    vidcore(*command("out", videos="empty.txt")).refuses("empty.txt: lists no videos")
    vidcore(*command("out"), "twice").refuses("up_001.*the same name")
    vidcore(*command("out"), "--stride", "often").refuses("stride 'often'")
    vidcore(*command("out"), "-c", "bets.pt").refuses(r"bets\.pt does not exist; did you mean 'best\.pt'")
    vidcore(*command("out"), "--set", "model.cls_head.in_channels=4").refuses(r"best\.pt: belongs to a different model")
    vidcore(
        *command("out"), "--set", 'data.val.pipeline.sample={type="UniformSample",clip_len=8,_replace_=true}'
    ).refuses("the pipeline must have one step that defines clips")
    assert not Path("out").exists()
