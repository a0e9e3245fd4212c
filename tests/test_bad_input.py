"""Every user error is one clear line with exit code 2, and no data is lost."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from vidcore.engine.checkpoint import Checkpoints, load

SMALL = [
    *("model.backbone.base_channels=2", "model.cls_head.in_channels=8", "data.train.dataset.ann_file=train.csv"),
    *("data.val.dataset.ann_file=val.csv", "train.epochs=1", "runtime.run_dir=run"),
]


Command = Callable[..., Any]


def options(*values: str) -> list[str]:
    return [part for value in values for part in ("--set", value)]


@pytest.fixture(scope="module")
def data(call: Callable[..., int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "demo"
    assert call("demo", "recognition", str(folder), "--videos-per-class", "2") == 0
    return folder


@pytest.fixture
def folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the demo to modify, as the working directory."""
    shutil.copytree(data, tmp_path / "demo")
    monkeypatch.chdir(tmp_path / "demo")
    return tmp_path / "demo"


@pytest.fixture
def vidcore(vidcore: Command) -> Command:
    """Run a command on a Task; the demo's is made small."""

    def run(name: str, *arguments: str, sets: tuple[str, ...] = (), task: str = "task.toml") -> Any:
        return vidcore(name, task, *arguments, *options(*(SMALL if task == "task.toml" else ()), *sets))

    return run


@pytest.fixture(scope="module")
def trained(call: Callable[..., int], data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the small model."""
    run = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(data)
        assert call("run", "task.toml", *options(*SMALL), "--dir", str(run)) == 0
    return Checkpoints(run / "checkpoints").best


def spoil(video: Path, how: str) -> None:
    if how == "missing":
        video.unlink()
    else:
        whole = video.read_bytes()
        video.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"no video\n" * 99}[how])


BAD_VIDEOS = {
    "missing": "no such file|does not exist|No such file",
    "truncated": "cannot|truncated|no video|not a video",
    "empty": "empty",
    "text": "cannot|no video|not a video",
}


@pytest.mark.parametrize("how", BAD_VIDEOS)
def test_a_bad_video_is_reported_if_it_must_not_be_skipped(folder: Path, vidcore: Command, how: str) -> None:
    spoil(folder / "videos" / "up_001.mp4", how)
    answer = vidcore("run", sets=('data.train.on_error="raise"',))
    answer.refuses(rf"videos/up_001\.mp4: .*({BAD_VIDEOS[how]})")


@pytest.mark.parametrize("how", BAD_VIDEOS)
def test_a_bad_video_does_not_spoil_the_predictions_of_others(
    folder: Path, vidcore: Command, trained: Path, how: str
) -> None:
    bad, good = folder / "videos" / "up_001.mp4", folder / "videos" / "down_001.mp4"
    spoil(bad, how)
    answer = vidcore("predict", str(bad), str(good), "-c", str(trained), "--json")
    if how == "missing":  # named explicitly: a typo, reported before anything heavy starts
        answer.refuses(r"up_001\.mp4: .*(no such|does not exist)")
        return
    answer.refuses("1 of 2 videos cannot be read")
    first, second = map(json.loads, answer.out.splitlines())
    assert re.search(BAD_VIDEOS[how], first["error"])
    assert len(second["classes"]) == 5


def write_list(folder: Path, count: int) -> None:
    """List ``count`` training videos: those of the demo, repeated."""
    rows = [(path.name, path.name[:-8]) for path in sorted((folder / "videos").iterdir())]
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *(rows * (count // len(rows) + 1))[:count]])


@pytest.mark.parametrize("workers", [0, 2])
def test_one_bad_video_among_many_does_not_end_a_run(folder: Path, vidcore: Command, workers: int) -> None:
    write_list(folder, 59)
    with (folder / "train.csv").open("a") as file:
        file.write("gone.mp4,up\n")
    spoil(folder / "videos" / "up 000.mp4", "empty")  # one of the eight to evaluate with
    vidcore("check", sets=("model.cls_head.num_classes=1000000000000",)).refuses(
        r"num_classes is 1000000000000; it must be from 1 to 100000$"
    )
    names = [*(folder / "classes.txt").read_text().split(), "sideways"]
    more = (f"data.train.dataset.classes={names}", "data.val.pipeline.sample.clip_len=0")
    assert vidcore("check", sets=more).code == 0
    answer = vidcore("check", "--build", sets=more)
    assert answer.code == 2
    pipeline, count, differ = (line for line in answer.err.splitlines() if line.startswith("error: "))
    assert "data.val.pipeline.sample" in pipeline
    assert count.endswith("data.train.dataset: has 9 classes, but the model's num_classes is 8; set it to 9")
    assert "data.val.dataset: its classes differ from those of data.train in sideways" in differ


def test_tasks_that_extend_each_other(folder: Path, vidcore: Command) -> None:
    (folder / "a.toml").write_text('extends = ["b.toml"]\n')
    (folder / "b.toml").write_text('extends = ["a.toml"]\n')
    vidcore("check", task="a.toml").refuses(r"a\.toml.*b\.toml.*a\.toml")


def test_a_task_that_is_not_toml(folder: Path, vidcore: Command) -> None:
    (folder / "broken.toml").write_text("[model]\ntype =\n")
    vidcore("check", task="broken.toml").refuses(r"broken\.toml.*line 2")
    vidcore("check", task="gone.toml").refuses(r"gone\.toml")
    vidcore("check", task="tsk.toml").refuses(r"'tsk\.toml'.*did you mean 'task\.toml'")


def test_weights_of_a_different_model(folder: Path, vidcore: Command, trained: Path) -> None:
    other = ("model.backbone.base_channels=4", "model.cls_head.in_channels=16")
    for answer in (
        vidcore("test", "-c", str(trained), sets=other),
        vidcore("predict", "videos", "-c", str(trained), sets=other),
        vidcore("run", sets=(*other, f'train.weights="{trained}"')),
    ):
        answer.refuses(r"best\.pt: .*backbone\.")
    assert not list((folder / "run").glob("checkpoints/*"))


class Payload:
    """Content of a malicious checkpoint."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_that_would_run_code(folder: Path, vidcore: Command, trained: Path, zipped: bool) -> None:
    evil, mark = folder / "evil.pth", folder / "executed"
    content = {**load(trained), "meta": Payload(mark)}
    torch.save(content, evil, _use_new_zipfile_serialization=zipped)
    for answer in (
        vidcore("test", "-c", str(evil)),
        vidcore("predict", "videos", "-c", str(evil)),
        vidcore("run", sets=(f'train.weights="{evil}"',)),
    ):
        answer.refuses(r"evil\.pth: is refused: .*run code")
    assert not mark.exists()
    torch.load(evil, weights_only=False)
    assert mark.exists(), "the payload of this test has no effect"


@pytest.mark.parametrize("what", ["missing", "empty", "text", "truncated"])
def test_files_that_are_not_checkpoints(folder: Path, vidcore: Command, trained: Path, what: str) -> None:
    shutil.copy(trained, "weights.pth")
    spoil(folder / "weights.pth", what)
    vidcore("predict", "videos", "-c", "weights.pth").refuses(r"weights\.pth(: is| does not exist)")


def test_inputs_are_not_overwritten(folder: Path, vidcore: Command, trained: Path) -> None:
    video, text = folder / "videos" / "up_001.mp4", (folder / "task.toml").read_text()
    before = trained.read_bytes(), video.read_bytes()
    vidcore("explain", "-o", "task.toml").refuses(r"task\.toml: is an input and would be overwritten")
    vidcore("test", "-c", str(trained), "--dump", str(trained)).refuses(r"best\.pt: is an input")
    answer = vidcore("predict", "-c", str(trained), "-o", "videos/up_001.mp4", "videos/down_001.mp4")
    answer.refuses(r"videos/up_001\.mp4: is a video and would be overwritten; choose another output")
    assert (folder / "task.toml").read_text() == text
    assert (trained.read_bytes(), video.read_bytes()) == before
    for _ in range(2):  # it may overwrite its own output
        assert vidcore("explain", "-o", "resolved.toml").code == 0


LIMITED = """
import resource, sys
from vidcore.cli import main
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))  # a limit on file sizes, as on a full disk
del sys.argv[1]
main()
"""


def test_a_full_disk_while_saving(folder: Path, vidcore: Command) -> None:
    first = vidcore("run")
    assert first.code == 0, first.err
    (saved,) = Checkpoints(folder / "run" / "checkpoints").paths()
    before = {path: path.read_bytes() for path in (folder / "run" / "checkpoints").iterdir()}
    more = ["run", "task.toml", "--resume", *options(*SMALL, "train.epochs=2")]
    limited = [sys.executable, "-c", LIMITED, str(saved.stat().st_size // 2), *more]
    done = subprocess.run(limited, capture_output=True, text=True, check=False, env=os.environ, timeout=300)
    attrs.evolve(first, code=done.returncode, out=done.stdout, err=done.stderr).refuses(
        r"checkpoints/epoch0002.*: cannot be saved: File too large"
    )
    assert {path: path.read_bytes() for path in (folder / "run" / "checkpoints").iterdir()} == before

    again = vidcore("run", "--resume", sets=("train.epochs=2",))
    assert again.code == 0, again.err
    straight = vidcore("run", "--dir", "straight", sets=("train.epochs=2",))
    assert straight.code == 0, straight.err
    a, b = (load(Checkpoints(folder / name / "checkpoints").paths()[-1])["state_dict"] for name in ("run", "straight"))
    assert all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize("where", ["classes.txt", "classes.txt/run", "/proc/run"])
def test_a_run_directory_that_cannot_be_written(folder: Path, vidcore: Command, where: str) -> None:
    before = (folder / "classes.txt").read_text()
    vidcore("run", "--dir", where).refuses(re.escape(where))
    assert (folder / "classes.txt").read_text() == before


def test_a_mistake_in_the_evaluation_does_not_cost_the_training(folder: Path, vidcore: Command) -> None:
    assert vidcore("run").code == 0
    (before,) = Checkpoints(folder / "run" / "checkpoints").paths()
    weights = load(before)["state_dict"]
    other = vidcore("run", "--resume", sets=("metrics.acc.topk=[3]", "data.val.dataset.ann_file='train.csv'"))
    assert other.code == 0, other.err
    assert "resumes with changed settings:\n" in other.err
    assert "\n  data.val.dataset.ann_file was" in other.err
    report = json.loads((folder / "run" / "report.json").read_text())
    assert report["training"]["resumed_step"] == report["training"]["steps"], "training is not repeated"
    assert "acc/top3" in report["scores"]
    (after,) = Checkpoints(folder / "run" / "checkpoints").paths()
    assert all(torch.equal(value, load(after)["state_dict"][name]) for name, value in weights.items())
    nonsense = vidcore("run", "--resume", sets=("metrics.acc.topk=[3]", "data.val.pipeline.format=false"))
    nonsense.refuses("has no inputs")
    assert json.loads((folder / "run" / "report.json").read_text()) == report


def test_a_run_directory_in_use(folder: Path, vidcore: Command) -> None:
    assert vidcore("run").code == 0
    before = {path: path.read_bytes() for path in (folder / "run").rglob("*.*")}
    vidcore("run").refuses(r"run: already holds a run")
    vidcore("run", "--resume", sets=("optimizer.lr=0.1",)).refuses(r"run: .*different Task.*lr")
    assert {path: path.read_bytes() for path in (folder / "run").rglob("*.*")} == before


def test_a_video_whose_name_is_not_utf8_is_predicted_like_others(
    folder: Path, vidcore: Command, trained: Path, tmp_path: Path
) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in (b"a.mp4", b"caf\xe9.mp4", b"z.mp4"):
        shutil.copy(folder / "videos" / "left 000.mp4", os.fsencode(videos) + b"/" + name)
    command = [sys.executable, "-m", "vidcore", "predict", "task.toml", str(videos), "-c", str(trained)]
    for more in ([], ["--json"]):
        done = subprocess.run([*command, *options(*SMALL), *more], capture_output=True)
        assert done.returncode == 0, done.stderr
        assert b"caf\\udce9.mp4" in done.stdout
    assert [os.path.basename(os.fsencode(json.loads(row)["video"])) for row in done.stdout.splitlines()] == [
        *(b"a.mp4", b"caf\xe9.mp4", b"z.mp4")
    ]
    assert vidcore("features", str(videos), "-c", str(trained), "-o", "features").code == 0
    assert len(list(Path("features").glob("*.npy"))) == 3


@pytest.mark.parametrize("output", ["a closed pipe", "a full disk"])
def test_a_run_ends_well_when_nobody_can_read_what_it_prints(folder: Path, output: str) -> None:
    if output == "a full disk":
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        end = os.open("/dev/full", os.O_WRONLY)
    else:
        read, end = os.pipe()
        os.close(read)
    command = [sys.executable, "-m", "vidcore", "run", "task.toml", *options(*SMALL, "train.val_interval=1")]
    try:
        assert subprocess.run(command, stdout=end, stderr=end).returncode == 0
    finally:
        os.close(end)
    assert (folder / "run" / "report.json").exists()
