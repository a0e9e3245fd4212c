"""A run folder belongs to one Task."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidcore.errors import UserError
from vidcore.task.run_folder import RunFolder, own_folder

TASK = """
[model]
type = "Net"
classes = 3
[data.train]
batch_size = 4
workers = 2
[train]
epochs = 3
"""


def started(folder: Path) -> RunFolder:
    run = RunFolder.prepare(folder, TASK)
    run.checkpoints.mkdir()
    (run.checkpoints / "epoch0001-step00000001.pt").touch()
    return run


def test_a_new_folder(tmp_path: Path) -> None:
    run = RunFolder.prepare(tmp_path / "a" / "b", TASK)
    assert run.task.read_text() == TASK
    assert not run.started
    RunFolder.prepare(tmp_path / "a" / "b", TASK)  # nothing was trained yet
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "video.mp4").touch()
    RunFolder.prepare(tmp_path / "c", TASK)


def test_a_run_from_before_a_key_was_renamed_resumes(tmp_path: Path) -> None:
    extra = TASK + "[data.train_extra.images]\nbatch_size = 2\n"
    started(tmp_path).task.write_text(extra.replace("train_extra", "train_also"))
    assert RunFolder.prepare(tmp_path, extra, resume=True).changed == ()
    assert RunFolder(tmp_path).task.read_text() == extra


def test_a_run_resumes_only_on_request(tmp_path: Path) -> None:
    assert started(tmp_path).started
    with pytest.raises(UserError, match="already holds a run; resume it, or choose another folder"):
        RunFolder.prepare(tmp_path, TASK)
    RunFolder.prepare(tmp_path, TASK, resume=True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("classes = 3", "classes = 5", "model.classes was 3 and is 5"),
        ("batch_size = 4", "batch_size = 8", "data.train.batch_size was 4 and is 8"),
        ("classes = 3\n", "", "model.classes was 3 and is not set"),
        ("[train]", "[optimizer]\nlr = 1.0\n[train]", "optimizer was not set and is a table;"),
        ("[train]", '[optimizer]\ntype = "SGD"\n[train]', "optimizer was not set and is SGD;"),
    ],
)
def test_a_different_task_is_refused_and_nothing_changes(tmp_path: Path, old: str, new: str, said: str) -> None:
    run = started(tmp_path)
    with pytest.raises(UserError, match=f"holds the run of a different Task: {said}"):
        RunFolder.prepare(tmp_path, TASK.replace(old, new), resume=True)
    assert run.task.read_text() == TASK


def test_a_run_that_failed_before_training_can_be_repeated(tmp_path: Path) -> None:
    RunFolder.prepare(tmp_path, TASK)
    mended = TASK.replace("batch_size = 4", "batch_size = 8")
    assert RunFolder.prepare(tmp_path, mended).task.read_text() == mended


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("workers = 2", "workers = 0"),
        ("epochs = 3", "epochs = 9"),
        ("[train]", "[runtime]\na = 1\n[train]"),
        ("[train]", "[metrics.acc]\ntype = 'Acc'\n[data.val]\nbatch_size = 1\n[data.test]\nbatch_size = 1\n[train]"),
    ],
)
def test_machine_length_and_evaluation_may_change(tmp_path: Path, old: str, new: str) -> None:
    started(tmp_path)
    longer = TASK.replace(old, new)
    assert RunFolder.prepare(tmp_path, longer, resume=True).task.read_text() == longer


def test_changes_are_reported(tmp_path: Path) -> None:
    assert started(tmp_path).changed == ()
    longer = TASK.replace("epochs = 3", "epochs = 9\nclip_norm = 1.0")
    run = RunFolder.prepare(tmp_path, longer, resume=True)
    assert run.changed == ("train.epochs was 3 and is 9", "train.clip_norm was not set and is 1.0")
    assert RunFolder.prepare(tmp_path, longer, resume=True).changed == ()


LISTS = """
[data.val]
mean = [1.0, 2.0]
names = ["abcdefghij", "abcdefghij", "abcdefghij", "abcdefghij", "abcdefghij"]
[data.val.d]
type = "ConcatDataset"
datasets = [{ type = "VideoDataset", ann_file = "a.csv" }, { type = "VideoDataset", ann_file = "b.csv" }]
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (LISTS, "", "data.val was a table and is not set"),
        ("b.csv", "c.csv", "data.val.d.datasets.1.ann_file was 'b.csv' and is 'c.csv'"),
        (
            ', { type = "VideoDataset", ann_file = "b.csv" }',
            "",
            "data.val.d.datasets was a list of 2 and is a list of 1",
        ),
        ("2.0]", "3.0]", "data.val.mean was [1.0, 2.0] and is [1.0, 3.0]"),
        ('"abcdefghij"]', '"b"]', "data.val.names has changed"),
        (
            'a.csv"',
            f'{"x" * 100}"',
            f"data.val.d.datasets.0.ann_file was 'a.csv' and is '{'x' * 29}...{'x' * 29}'",
        ),
    ],
)
def test_a_change_is_a_short_sentence(tmp_path: Path, old: str, new: str, said: str) -> None:
    started(tmp_path).task.write_text(TASK + LISTS)
    assert RunFolder.prepare(tmp_path, (TASK + LISTS).replace(old, new), resume=True).changed == (said,)


def test_a_damaged_task(tmp_path: Path) -> None:
    started(tmp_path).task.write_text("[model")
    with pytest.raises(UserError, match=r"task.toml: is no longer a valid Task: Expected"):
        RunFolder.prepare(tmp_path, TASK, resume=True)


def test_two_processes_cannot_share_a_folder(tmp_path: Path) -> None:
    other = f"from vidcore.task.run_folder import RunFolder; RunFolder.prepare({str(tmp_path)!r}, '', True)"
    run = RunFolder.prepare(tmp_path, "")
    refused = subprocess.run([sys.executable, "-c", other], capture_output=True, text=True)
    assert refused.returncode == 1
    assert f"UserError: {tmp_path}: is in use by another process" in refused.stderr
    del run
    assert subprocess.run([sys.executable, "-c", other]).returncode == 0


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is a file, not a folder"):
        RunFolder.prepare(tmp_path / "file", TASK)
    with pytest.raises(UserError, match="file/run: cannot be written: Not a directory"):
        RunFolder.prepare(tmp_path / "file" / "run", TASK)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="cannot be written: Permission denied"):
        RunFolder.prepare(tmp_path, TASK)


@pytest.mark.parametrize("content", [b"", bytes(99), b"\xff\xfe\x00", b"[model", b"data = 5", b"a = " + b"[" * 9999])
def test_a_damaged_task_of_a_run(tmp_path: Path, content: bytes) -> None:
    started(tmp_path).task.write_bytes(content)
    with pytest.raises(UserError, match=r"task.toml: is (no longer a valid Task: |empty; ).*or delete it to resume"):
        RunFolder.prepare(tmp_path, TASK, resume=True)
    (tmp_path / "task.toml").unlink()
    with pytest.raises(UserError, match="already holds a run"):
        RunFolder.prepare(tmp_path, TASK)
    assert RunFolder.prepare(tmp_path, TASK, resume=True).task.read_text() == TASK


@pytest.mark.parametrize(
    "name",
    ["task.toml", "metrics.jsonl", "report.json", "progress.json", "bad_samples_val.jsonl", "checkpoints", ".lock"],
)
def test_links_in_a_run_folder_are_refused_at_the_start(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    (outside.mkdir if name == "checkpoints" else outside.touch)()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(outside)
    (tmp_path / "run" / "pretrained.pt").symlink_to(outside)  # only read
    with pytest.raises(UserError, match=rf"run/{name}: is a link to {outside}"):
        RunFolder.prepare(tmp_path / "run", TASK)
    assert outside.is_dir() or outside.read_text() == ""
    (tmp_path / "run" / name).unlink()
    RunFolder.prepare(tmp_path / "run", TASK)


def test_leftovers_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    run = started(tmp_path)
    del run
    for place in (tmp_path, tmp_path / "checkpoints"):
        (place / ".report.json.999999999.tmp").touch()
    RunFolder.prepare(tmp_path, TASK, resume=True)
    assert not list(tmp_path.rglob("*.tmp"))


def test_the_task_of_a_run_that_was_moved(tmp_path: Path) -> None:
    started(tmp_path / "old")
    task = (tmp_path / "old").rename(tmp_path / "new") / "task.toml"
    assert own_folder(task, None) == tmp_path / "new"
    assert own_folder(task, tmp_path / "new") == tmp_path / "new"
    with pytest.raises(UserError, match=f"to the run in {tmp_path}/new, but sets runtime.run_dir to {tmp_path}/old"):
        own_folder(task, tmp_path / "old")
    (tmp_path / "task.toml").touch()
    assert own_folder(tmp_path / "task.toml", tmp_path / "old") is None  # the Task of no run
    assert own_folder(None, tmp_path / "old") is None
