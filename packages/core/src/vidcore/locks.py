"""Folders that this process writes: locked against other processes, guarded against links and against being moved."""

from __future__ import annotations

import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Self

from vidcore.errors import UserError

__all__ = ["Lock", "guard", "make_folder", "remove_leftovers", "temporary_name"]

_TEMPORARY = re.compile(r"\..+\.(\d+)\.tmp")


class Lock:
    """A lock file, with which processes keep each other out of the folder that contains it.

    The lock ends when it is released, or with the process. Child processes do not inherit it. If the operating system
    or the file system has no locks, it can always be taken. Until it is released, ``guard`` watches over the folder.
    """

    def __init__(self, path: Path) -> None:
        """Create ``path`` if it does not exist; its folder must exist. Raises ``UserError`` if it is a link."""
        self.path = path.absolute()
        _refuse_links(self.path.parent, self.path)
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        self._folder = self.path.parent.stat()
        _locks.append(self)

    def take(self, shared: bool = False, wait: bool = False) -> bool:
        """Take the lock, or change it from shared to exclusive or back; return whether that worked.

        Args:
            shared: allow other processes that share it.
            wait: block until other processes have released it.
        """
        try:
            import fcntl
        except ImportError:  # Windows
            return True
        try:
            fcntl.lockf(self._handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a file system without locks
            return True
        return True

    def release(self) -> None:
        """Release the lock."""
        if self._handle >= 0:
            _locks.remove(self)
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def require_folder(self) -> None:
        """Raise ``UserError`` if the folder is no longer where it was when it was locked."""
        folder, lock = _identity(self.path.parent), _identity(self.path)
        ours = os.fstat(self._handle)
        if lock != (ours.st_dev, ours.st_ino) and folder != (self._folder.st_dev, self._folder.st_ino):
            place = self._place()
            moved = f"was moved to {place}" if place else "was moved or deleted"
            hint = f"resume in {place}, or move it back" if place else "nothing more is written"
            raise UserError(f"{self.path.parent}: {moved} while this process was writing to it; {hint}")

    def _place(self) -> Path | None:
        """Return the folder where the lock file is now; None if that is unknown (Linux only)."""
        try:
            path = Path(os.readlink(f"/proc/self/fd/{self._handle}"))
        except OSError:
            return None
        return path.parent if path.exists() else None


_locks: list[Lock] = []
"""Locks of this process. A child process has a copy."""


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def guard(path: str | Path) -> Path:
    """Return a path, unless writing to it would change something outside of a folder that this process has locked.

    The folder itself may be a link, or lie below one. Call it before every write that does not go through
    ``vidcore.files``.

    Raises:
        UserError: the path leads through a link inside the folder, or the folder was moved or deleted.
    """
    whole = Path(path).absolute()
    for lock in _locks:
        folder = lock.path.parent
        if folder == whole or folder in whole.parents:
            lock.require_folder()
            _refuse_links(folder, whole)
    return Path(path)


def _refuse_links(folder: Path, path: Path) -> None:
    for part in (path, *path.parents):
        if part == folder:
            return
        if part.is_symlink():
            raise UserError(
                f"{part}: is a link to {os.readlink(part)}, and nothing is written through links inside {folder}; "
                "replace it by what it points to"
            )


def make_folder(path: Path) -> None:
    """Create a folder and its parents if they do not exist. Raises like ``guard``."""
    guard(path).mkdir(parents=True, exist_ok=True)


def temporary_name(path: Path) -> Path:
    """Return the name under which this process writes ``path`` before renaming it."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left in a folder and below: files named by ``temporary_name``. Links are kept.

    Call it before the first write. Files of other processes that are alive stay.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            found = _TEMPORARY.fullmatch(name)
            if found and not _is_alive(int(found[1])):
                with suppress(OSError):
                    os.unlink(os.path.join(place, name))


def _is_alive(pid: int) -> bool:
    """Whether another process has this number; True where that cannot be asked safely."""
    if pid == os.getpid():  # in a container, the process before this one often had the same number
        return False
    if sys.platform == "win32":
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
