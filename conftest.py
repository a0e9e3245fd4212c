"""Settings of every test run of the workspace, and what the tests of several packages use."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

# Tests run in several processes; each with a thread per core would only stand in the others' way.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def vidcore() -> Callable[..., str]:
    """Run ``vidcore`` in a folder and return its output; it must exit with ``code``."""
    from vidcore.cli import run  # here, since some test runs set variables before they import it

    def in_folder(folder: Path, *arguments: str, code: int = 0) -> str:
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
            patch.chdir(folder)
            warnings.simplefilter("default")
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                ended = run(arguments)
        assert ended == code, said.getvalue()
        return said.getvalue()

    return in_folder
