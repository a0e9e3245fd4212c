"""Checkpoints are atomic, and loading them runs no code."""

from __future__ import annotations

import errno
import os
import pickle
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from vidcore.engine.checkpoint import Checkpoints, load, save
from vidcore.errors import CheckpointError

CONTENT = {"state_dict": {"w": torch.arange(100_000.0)}, "step": 3, "names": ["a", "b"]}


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch pwned",)


def test_save_and_load_round_trip(tmp_path: Path) -> None:
    save(tmp_path / "new" / "a.pt", CONTENT)
    back = load(tmp_path / "new" / "a.pt")
    assert torch.equal(back["state_dict"]["w"], CONTENT["state_dict"]["w"])
    assert (back["step"], back["names"]) == (3, ["a", "b"])
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.pt"]


def test_loading_runs_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Evil()}, "zip.pt")
    Path("bare.pt").write_bytes(pickle.dumps(Evil()))
    Path("old.pt").write_bytes(pickle.dumps(Evil(), protocol=2))
    for name in ("zip.pt", "bare.pt", "old.pt"):
        with pytest.raises(CheckpointError, match=rf"{name}: is refused: .*would run code") as caught:
            load(name)
        assert "\n" not in str(caught.value)
    assert not Path("pwned").exists()


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [
        ("cut", lambda b: b[: len(b) // 2], "truncated, damaged, or not a checkpoint"),
        ("cut_end", lambda b: b[:-1000], "truncated, damaged, or not a checkpoint"),
        ("flipped", lambda b: b[:200_000] + bytes([b[200_000] ^ 1]) + b[200_001:], "does not match its checksum"),
        ("empty", lambda b: b"", "is empty"),
        ("text", lambda b: b"these are not the weights", "truncated, damaged, or not a checkpoint"),
    ],
)
def test_damaged_files_are_reported(tmp_path: Path, name: str, damage: Any, reason: str) -> None:
    path = tmp_path / f"{name}.pt"
    save(path, CONTENT)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CheckpointError, match=rf"{name}.pt: .*{reason}") as caught:
        load(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none.pt: cannot be read: No such file"):
        load(tmp_path / "none.pt")
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        load(tmp_path)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load(tmp_path / "list.pt")


class Disk:
    """A disk with room for N more bytes."""

    def __init__(self, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = room
        original = Path.open
        disk = self

        def open_(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            file = original(path, mode, *args, **kwargs)
            return File(file, disk) if mode == "wb" else file

        monkeypatch.setattr(Path, "open", open_)


class File:
    def __init__(self, file: Any, disk: Disk) -> None:
        self.file, self.disk = file, disk

    def __enter__(self) -> File:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: Any) -> int:
        self.disk.room -= len(data)
        if self.disk.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return int(self.file.write(data))


@pytest.mark.parametrize("room", [0, 100, 5_000, 200_000])
def test_a_full_disk_keeps_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    path = tmp_path / "a.pt"
    save(path, {"step": 1})
    Disk(room, monkeypatch)
    with pytest.raises(CheckpointError, match=r"a.pt: cannot be saved: No space left on device \(.*intact"):
        save(path, CONTENT)
    assert load(path) == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.pt"], "no partial file is left"


def test_a_file_size_limit(tmp_path: Path) -> None:
    """A real failed write, in a separate process, since the limit on file sizes cannot be raised again."""
    script = f"""
import torch
from vidcore.engine.checkpoint import save
from vidcore.errors import CheckpointError
try:
    save({str(tmp_path / "a.pt")!r}, {{"w": torch.zeros(100_000)}})
except CheckpointError as error:
    print(error)
"""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    done = subprocess.run([sys.executable, "-c", script], preexec_fn=limit, capture_output=True, text=True, check=True)
    assert "a.pt: cannot be saved: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot be saved: Not a directory"):
        save(tmp_path / "file" / "folder" / "a.pt", CONTENT)


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path / "some", keep=2)
    all_ = Checkpoints(tmp_path / "all", keep=0)
    for step in (9, 10, 100, 1000):
        for checkpoints in (kept, all_):
            checkpoints.save(1, step, {"step": step})
    assert [load(p)["step"] for p in kept.paths()] == [100, 1000]
    assert [load(p)["step"] for p in all_.paths()] == [9, 10, 100, 1000]


def test_a_damaged_checkpoint_does_not_push_a_good_one_out(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(1, 2, {"step": 2})
    (tmp_path / "epoch0001-step00000009.pt").write_bytes(b"rotten")
    checkpoints.save(1, 4, {"step": 4})
    newest = checkpoints.newest(lambda line: None)
    assert newest is not None
    assert newest[1] == {"step": 4}
    assert len(checkpoints.paths()) == 2


def test_the_newest_intact_checkpoint_is_found(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=0)
    said: list[str] = []
    assert checkpoints.newest(said.append) is None
    for step in (1, 2, 3):
        checkpoints.save(1, step, {"step": step})
    checkpoints.paths()[-1].write_bytes(b"rotten")
    newest = checkpoints.newest(said.append)
    assert newest is not None
    assert newest[1] == {"step": 2}
    assert "step00000003.pt" in said[0]
    for path in checkpoints.paths():
        path.write_bytes(b"rotten")
    with pytest.raises(CheckpointError, match="none of 3 checkpoints can be read"):
        checkpoints.newest(said.append)


@pytest.mark.parametrize("text", ["left\nright\n", "path,label\n", "[model]\n", "\x80\x02"])
def test_a_text_file_is_not_reported_as_dangerous(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.txt").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"classes\.txt: is truncated, damaged, or not a checkpoint$"):
        load(tmp_path / "classes.txt")
