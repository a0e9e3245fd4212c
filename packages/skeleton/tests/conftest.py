"""Fixtures of vid-skeleton's tests."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from vidcore.cli import run


@pytest.fixture(scope="session")
def vidcore() -> Callable[..., str]:
    """Run ``vidcore`` in a folder and return its output; it must exit with ``code``."""

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
