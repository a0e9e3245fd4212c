"""Folders in use: links in them are not followed, moving them is noticed, and what killed processes left is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vidcore.errors import UserError
from vidcore.files import append_line, write_text
from vidcore.locks import Lock, guard, make_folder, remove_leftovers, temporary_name


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder, with a folder outside."""
    (tmp_path / "run" / "inner").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("theirs")
    return tmp_path / "run"


@pytest.mark.parametrize("link", ["file", "folder", "deep", "dangling"])
def test_nothing_is_written_through_links(folder: Path, link: str) -> None:
    outside = folder.parent / "outside"
    target = folder / "file" if link in ("file", "dangling") else folder / "inner" / "deep" / "file"
    if link in ("file", "dangling"):
        target.symlink_to(outside / ("file" if link == "file" else "new"))
    elif link == "folder":
        (folder / "inner").rmdir()
        (folder / "inner").symlink_to(outside)
    else:
        (folder / "inner" / "deep").symlink_to(outside)
    with Lock(folder / ".lock"):
        for write in (
            lambda p: write_text(p, "ours"),
            lambda p: append_line(p, "ours"),
            guard,
            lambda p: make_folder(p),
        ):
            with pytest.raises(
                UserError, match=r"is a link to .*outside.*, and nothing is written through links inside"
            ):
                write(target)
    assert sorted(p.name for p in outside.iterdir()) == ["file"]
    assert (outside / "file").read_text() == "theirs"
    if link == "file":
        write_text(target, "ours")  # nobody uses the folder
        assert (outside / "file").read_text() == "ours"


def test_the_folder_itself_may_be_a_link_or_below_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = folder.parent / "disk"
    disk.symlink_to(folder.parent)
    (folder / "read only").symlink_to(folder.parent / "outside")  # nobody writes there
    for place in (disk / "run", folder.parent / "link"):
        if place.name == "link":
            place.symlink_to(folder)
        with Lock(place / ".lock"):
            write_text(place / "inner" / "a", "ours")
            make_folder(place / "inner" / "more")
        assert (folder / "inner" / "a").read_text() == "ours"
    monkeypatch.chdir(folder)
    with Lock(Path(".lock")):
        write_text("b", "ours")
        write_text(folder.parent / "c", "ours")  # not inside
    assert (folder / "b").read_text() == "ours"


def test_a_lock_that_is_a_link_is_refused(folder: Path) -> None:
    (folder / ".lock").symlink_to(folder.parent / "outside" / "new")
    with pytest.raises(UserError, match=r"run/\.lock: is a link to"):
        Lock(folder / ".lock")
    assert not (folder.parent / "outside" / "new").exists()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="finds the new place on Linux")
@pytest.mark.parametrize("replaced", [False, True])
def test_a_folder_that_is_moved_is_noticed(folder: Path, replaced: bool) -> None:
    with Lock(folder / ".lock"):
        write_text(folder / "a", "1")
        moved = folder.rename(folder.parent / "moved")
        if replaced:
            folder.mkdir()
            (folder / ".lock").touch()
        for write in (lambda: write_text(folder / "a", "2"), lambda: make_folder(folder / "checkpoints")):
            with pytest.raises(UserError, match=rf"{folder}: was moved to {moved} while this process"):
                write()
        assert folder.exists() == replaced and not (folder / "a").exists()
        if replaced:
            (folder / ".lock").unlink()
            folder.rmdir()
        moved.rename(folder)
        write_text(folder / "a", "3")
        (folder / ".lock").unlink()  # somebody cleans up
        write_text(folder / "a", "4")
    assert (folder / "a").read_text() == "4"


def test_a_folder_that_is_deleted_is_noticed(folder: Path) -> None:
    with Lock(folder / "inner" / ".lock"):
        (folder / "inner" / ".lock").unlink()
        (folder / "inner").rmdir()
        with pytest.raises(UserError, match="was moved or deleted while this process"):
            make_folder(folder / "inner" / "checkpoints")
    assert not (folder / "inner").exists()


def test_leftovers_of_killed_processes_are_removed(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    dead = int(done.stdout)
    ours = temporary_name(folder / "inner" / "a.pt").name.replace(str(os.getpid()), "{}")
    gone = [ours.format(dead), ours.format(os.getpid()), ours.format(2**40)]  # one before us may have had our number
    kept = [ours.format(os.getppid()), "a.tmp", ".a.tmp", f".a.{dead}.tmp.pt", f"a.{dead}.tmp", f".a.{dead}x.tmp"]
    for name in (*gone, *kept):
        (folder / "inner" / name).touch()
    (folder / "link").symlink_to(folder.parent / "outside")
    theirs = folder.parent / "outside" / gone[0]
    theirs.touch()
    remove_leftovers(folder)
    assert sorted(p.name for p in (folder / "inner").iterdir()) == sorted(kept)
    assert theirs.exists()
