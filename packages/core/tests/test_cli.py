"""How the command line ends."""

from __future__ import annotations

import subprocess
import sys

import pytest

RUN = """
import os, signal, time

from vidcore import cli


def work(*_, **__):
    {}


cli.cli.main = work
cli.main([])
"""


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", 130, "interrupted"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 143, "terminated"),
        (
            "import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has')",
            1,
            "error: CUDA out of memory. Tried to allocate 2.00 GiB: use a smaller data.*.batch_size",
        ),
        ("import torch; torch.empty(2**60)", 1, "error: "),
        (
            "raise KeyError(3)",
            1,
            "error: KeyError: 3\nThis is a bug, unless parts of a Task do not go together; --debug shows where.",
        ),
    ],
)
def test_how_it_ends(work: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", RUN.format(work)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert ("use a smaller data.*.batch_size" in done.stderr) == ("torch" in work)
    assert "Traceback" not in done.stderr
