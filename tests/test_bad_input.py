"""What people get wrong: one clear line, exit code 2, nothing lost, no traceback."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

TASK = """
[model]
type = "Recognizer3D"
backbone = { type = "ResNet3dSlowOnly", depth = 18, base_channels = 4, with_pool1 = false }
cls_head = { type = "I3DHead", num_classes = 2, in_channels = 32 }

[data]
classes = "classes.txt"

[data.train]
batch_size = 4
dataset = { type = "VideoDataset", ann_file = "train.csv", data_root = "videos" }

[data.train.pipeline]
open = { type = "OpenVideo" }
sample = { type = "SampleFrames", clip_len = 2, frame_interval = 1 }
decode = { type = "Decode" }
resize = { type = "Resize", scale = [32, 32], keep_ratio = false }
format = { type = "FormatShape", input_format = "NCTHW" }

[data.val]
batch_size = 4
dataset = { type = "VideoDataset", ann_file = "val.csv", data_root = "videos" }

[data.val.pipeline]
open = { type = "OpenVideo" }
sample = { type = "SampleFrames", clip_len = 2, frame_interval = 1, test_mode = true }
decode = { type = "Decode" }
resize = { type = "Resize", scale = [32, 32], keep_ratio = false }
format = { type = "FormatShape", input_format = "NCTHW" }

[train]
epochs = 1

[optimizer]
type = "SGD"
lr = 0.01

[metrics.acc]
type = "AccMetric"
topk = [1]
"""


def video(path: Path, frames: int = 6) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (48, 48))
    for number in range(frames):
        writer.write(np.full((48, 48, 3), 20 * number, np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Task, 60 videos in its training list and 4 in its validation list."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "videos").mkdir()
    one = video(folder / "videos" / "0.mp4")
    for number in range(1, 60):
        shutil.copy(one, folder / "videos" / f"{number}.mp4")
    (folder / "classes.txt").write_text("left\nright\n")
    rows = [f"{n}.mp4,{('left', 'right')[n % 2]}\n" for n in range(60)]
    (folder / "train.csv").write_text("path,label\n" + "".join(rows))
    (folder / "val.csv").write_text("path,label\n" + "".join(rows[:4]))
    (folder / "task.toml").write_text(TASK)
    return folder


@pytest.fixture
def folder(template: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(template, tmp_path / "d"))


def vidcore(folder: Path, *arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run the command line as a person would, in that folder."""
    command = [sys.executable, "-m", "vidcore", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **settings)  # type: ignore[call-overload, no-any-return]


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """Exit code 2, every text in an error line, no traceback."""
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert errors, done.stderr
    for text in said:
        assert any(text in line for line in errors), (text, done.stderr)


def spoil(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


SPOILT_TASKS: dict[str, tuple[str, str, list[str]]] = {
    "unknown component": ("AccMetric", "AccMetrik", ["metrics.acc.type", "'AccMetrik'; did you mean 'AccMetric'?"]),
    "misspelt argument": ("clip_len", "clip_length", ["data.train.pipeline.sample.clip_length", "mean 'clip_len'?"]),
    "misspelt table": ("[optimizer]", "[optimiser]", ["optimiser", "did you mean 'optimizer'?"]),
    "wrong type": ("batch_size = 4", 'batch_size = "4"', ["data.train.batch_size: must be an integer, got '4'"]),
    "impossible value": ("batch_size = 4", "batch_size = 0", ["batch_size must be at least 1, got 0"]),
    "no TOML": ("[train]", "[train", ["task.toml: no valid TOML", "line"]),
    "missing list": ("train.csv", "trian.csv", ["trian.csv does not exist; did you mean 'train.csv'?"]),
    "cyclic extends": ("\n[model]", 'extends = "task.toml"\n[model]', ["goes in a circle: task.toml -> task.toml"]),
}


@pytest.mark.parametrize("case", SPOILT_TASKS)
def test_a_wrong_task_is_explained(folder: Path, case: str) -> None:
    old, new, said = SPOILT_TASKS[case]
    spoil(folder / "task.toml", old, new)
    refused(vidcore(folder, "run", "task.toml"), *said)
    assert not list(folder.glob("runs/*/checkpoints/*"))


def test_all_mistakes_of_a_file_show_at_once(folder: Path) -> None:
    spoil(folder / "task.toml", "clip_len", "clip_length")
    spoil(folder / "task.toml", "AccMetric", "AccMetrik")
    done = vidcore(folder, "check", "task.toml")
    refused(done, "clip_length", "AccMetrik")
    assert done.stderr.count("error: ") >= 2


def test_missing_files(folder: Path) -> None:
    refused(vidcore(folder, "run", "tsk.toml"), "'tsk.toml' is neither a file", "did you mean 'task.toml'?")
    refused(vidcore(folder, "test", "task.toml", "-c", "no.pt"), "no.pt: cannot be read: No such file")


SPOILT_LISTS = {
    "label out of range": ("3.mp4,right", "3.mp4,7", "train.csv:5: label 7 is out of range, allowed is 0 to 1"),
    "unknown class": ("3.mp4,right", "3.mp4,rigth", "train.csv:5: label 'rigth' is none of the 2 classes"),
    "wrong column count": ("3.mp4,right", "3.mp4,right,extra", "train.csv:5:"),
}


@pytest.mark.parametrize("case", SPOILT_LISTS)
def test_a_wrong_line_of_a_list_is_named(folder: Path, case: str) -> None:
    old, new, said = SPOILT_LISTS[case]
    spoil(folder / "train.csv", old, new)
    refused(vidcore(folder, "run", "task.toml"), said)


def make_bad(path: Path, how: str) -> None:
    whole = path.read_bytes()
    content = {"truncated": whole[: len(whole) // 3], "zero bytes": b"", "text": b"this is no video\n" * 50}
    path.write_bytes(content[how])


@pytest.mark.parametrize("how", ["truncated", "zero bytes", "text"])
def test_a_bad_video_is_named(folder: Path, how: str) -> None:
    make_bad(folder / "videos" / "3.mp4", how)
    done = vidcore(folder, "run", "task.toml", "--set", "data.train.on_error=raise")
    refused(done, str(folder / "videos" / "3.mp4"))


@pytest.mark.parametrize("workers", [0, 2])
def test_one_bad_video_does_not_end_a_run(folder: Path, workers: int) -> None:
    make_bad(folder / "videos" / "3.mp4", "zero bytes")
    done = vidcore(folder, "run", "task.toml", "--set", f"data.train.workers={workers}", "--dir", "run")
    assert done.returncode == 0, done.stderr
    assert "3.mp4" in (folder / "run" / "bad_samples.jsonl").read_text()
    assert "3 of 4 samples" in done.stdout, "the scores must say that they do not cover all of the data"


def test_bad_videos_beyond_the_budget_end_it(folder: Path) -> None:
    for number in range(20):
        make_bad(folder / "videos" / f"{number}.mp4", "zero bytes")
    refused(
        vidcore(folder, "run", "task.toml"), "of 60 samples are bad, 10 are allowed", "bad_samples.jsonl lists them"
    )


@pytest.fixture(scope="module")
def trained(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the Task."""
    run = tmp_path_factory.mktemp("run") / "run"
    done = vidcore(template, "run", "task.toml", "--dir", str(run))
    assert done.returncode == 0, done.stderr
    return run


def test_prediction_names_what_it_cannot_read_and_does_the_rest(folder: Path, trained: Path) -> None:
    make_bad(folder / "videos" / "3.mp4", "text")
    best = str(trained / "checkpoints" / "best.pt")
    done = vidcore(folder, "predict", "task.toml", "-c", best, "videos/2.mp4", "videos/3.mp4", "videos/4.mp4")
    refused(done, "1 of 3 videos cannot be read")
    assert "videos/3.mp4\n  cannot be read" in done.stdout
    assert done.stdout.count("left") == 2
    refused(vidcore(folder, "predict", "task.toml", "-c", best, "videoz"), "videoz: there is no such file or folder")


def test_checkpoint_of_another_model(folder: Path, trained: Path) -> None:
    spoil(folder / "task.toml", "base_channels = 4", "base_channels = 8")
    spoil(folder / "task.toml", "in_channels = 32", "in_channels = 64")
    best = trained / "checkpoints" / "best.pt"
    refused(vidcore(folder, "test", "task.toml", "-c", str(best)), "is of another model", "backbone.conv1.conv.weight")


class Payload:
    def __reduce__(self) -> tuple[Callable[..., object], tuple[str]]:
        return os.system, ("touch executed",)


def test_checkpoint_with_a_payload_is_refused_unexecuted(folder: Path, trained: Path) -> None:
    content = {"state_dict": {"a": torch.zeros(1)}, "more": Payload()}
    torch.save(content, folder / "evil.pth")
    (folder / "plain.pth").write_bytes(pickle.dumps(content["more"]))
    for name in ("evil.pth", "plain.pth"):
        refused(vidcore(folder, "test", "task.toml", "-c", name), name, "would run code")
        assert not (folder / "executed").exists()


def test_a_damaged_checkpoint_is_refused(folder: Path, trained: Path) -> None:
    whole = (trained / "checkpoints" / "best.pt").read_bytes()
    (folder / "cut.pt").write_bytes(whole[: len(whole) // 2])
    refused(vidcore(folder, "test", "task.toml", "-c", "cut.pt"), "cut.pt: is truncated, damaged, or no checkpoint")


def test_a_full_disk_keeps_what_was_saved(folder: Path) -> None:
    """No file may grow to half the size of a checkpoint: saving the second epoch fails half-way."""
    assert vidcore(folder, "run", "task.toml", "--dir", "run").returncode == 0
    run = folder / "run"
    saved = {path: path.read_bytes() for path in run.glob("checkpoints/*.pt")}
    limit = max(map(len, saved.values())) // 2

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    longer = ("run", "task.toml", "--dir", "run", "--resume", "--set", "train.epochs=2")
    refused(vidcore(folder, *longer, preexec_fn=lower), "cannot be saved", "is intact")
    assert {path: path.read_bytes() for path in run.glob("checkpoints/*.pt")} == saved
    assert not list(run.glob("checkpoints/.*"))
    assert vidcore(folder, *longer).returncode == 0
    with zipfile.ZipFile(next(run.glob("checkpoints/epoch0002*.pt"))) as archive:
        assert archive.testzip() is None


def test_an_unwritable_run_folder(folder: Path) -> None:
    """Below a file, where not even root can write."""
    refused(vidcore(folder, "run", "task.toml", "--dir", "classes.txt/run"), "classes.txt/run: cannot be written")
    refused(vidcore(folder, "run", "task.toml", "--dir", "classes.txt"), "'classes.txt' is a file")
    assert (folder / "classes.txt").read_text() == "left\nright\n"


def test_a_second_run_does_not_overwrite_the_first(folder: Path, trained: Path) -> None:
    before = (trained / "report.json").read_bytes()
    refused(vidcore(folder, "run", "task.toml", "--dir", str(trained)), "holds the run of another task")
    assert (trained / "report.json").read_bytes() == before
