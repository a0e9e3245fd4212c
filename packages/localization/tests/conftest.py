"""Fixtures of vid-localization's tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def vidcore() -> Callable[..., str]:
    """Run ``vidcore`` in a folder, in its own process, and return its output; it must exit with ``code``."""

    def run(folder: Path, *arguments: str, code: int = 0, **env: str) -> str:
        command = [sys.executable, "-m", "vidcore", *arguments]
        env = {**os.environ, "NO_COLOR": "1", **env}
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=env)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    return run
