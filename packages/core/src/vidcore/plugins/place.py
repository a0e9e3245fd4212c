"""Where the code of a user failed: file and line, for messages without a traceback."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import sysconfig
from traceback import walk_tb

from vidcore.plugins.hooks import GROUP

__all__ = ["failed_at", "with_place"]


def failed_at(error: BaseException) -> str:
    """Return ``file:line`` of the innermost frame of an exception in code of a user; empty if there is none.

    Code of a user is a ``--plugin`` file, an installed plugin, or a module beside them, but not the packages of vidcore
    and no library.
    """
    found = ""
    ours, plugins = _packages()
    inside = False
    for frame, line in walk_tb(error.__traceback__):
        package = str(frame.f_globals.get("__name__")).partition(".")[0]
        inside |= package == "vidcore"  # the caller of vidcore is not called by it
        file = frame.f_code.co_filename
        if inside and package not in ours and (package in plugins or not _is_library(package, file)):
            found = f"{_shown(file)}:{line}"
    if not found and isinstance(error, SyntaxError) and error.filename and not _is_library("", error.filename):
        found = f"{_shown(error.filename)}:{error.lineno}"
    return found


def with_place(error: BaseException) -> str:
    """Return the type and message of an exception, and its place in code of a user if there is one.

    For example, ``ValueError: math domain error (at my_model.py:31)``.
    """
    place = failed_at(error)
    return f"{type(error).__name__}: {error}" + (f" (at {place})" if place else "")


def _packages() -> tuple[set[str], set[str]]:
    """Return the packages of vidcore, and those of other installed plugins."""
    ours, plugins = {"vidcore"}, set[str]()
    author = importlib.metadata.metadata("vidcore")["Author"]
    for entry in importlib.metadata.entry_points(group=GROUP):
        same = entry.dist is not None and entry.dist.metadata["Author"] == author
        (ours if same else plugins).add(entry.value.partition(".")[0])
    return ours, plugins


def _is_library(package: str, file: str) -> bool:
    """Whether a frame belongs to Python or to an installed library, or has no source."""
    folders = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    inside = any(file.startswith(f"{folder}{os.sep}") for folder in folders)
    return inside or package in {*sys.stdlib_module_names, "__main__"} or not os.path.isfile(file)


def _shown(file: str) -> str:
    """Return a path relative to the current folder if it is in it."""
    here = os.getcwd() + os.sep
    return file.removeprefix(here)
