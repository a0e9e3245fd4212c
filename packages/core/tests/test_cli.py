"""Exit codes and messages of the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from vidcore.cli import run
from vidcore.errors import PluginError
from vidcore.plugins.catalog import load_plugins

RUN = """
import os, signal, sys, time

from vidcore import cli


def work(*_, **__):
    {}


cli.cli.main = work
sys.argv = ["vidcore"]
cli.main()
"""


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(9)", 130, "interrupted"),
        ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(9)", 143, "terminated"),
        pytest.param(
            "import torch; raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has')",
            1,
            "error: CUDA out of memory. Tried to allocate 2.00 GiB: use a smaller data.*.batch_size",
            marks=pytest.mark.torch,
        ),
        pytest.param("import torch; torch.empty(2**60)", 1, "error: ", marks=pytest.mark.torch),
        (
            "raise KeyError(3)",
            1,
            "error: KeyError: 3\nThis looks like a bug (or incompatible parts in the Task); rerun with --debug for a "
            "traceback.",
        ),
    ],
)
def test_exit_codes(work: str, code: int, said: str) -> None:
    done = subprocess.run([sys.executable, "-c", RUN.format(work)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert done.stderr.startswith(said)
    assert ("use a smaller data.*.batch_size" in done.stderr) == ("torch" in work)
    assert "Traceback" not in done.stderr


def test_a_command_run_from_python_does_not_change_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    before = warnings.showwarning, signal.getsignal(signal.SIGTERM)
    assert run(["list", "metrics"]) == 0
    assert run(["list", "metricks"]) == 2
    assert (warnings.showwarning, signal.getsignal(signal.SIGTERM)) == before
    assert "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["evaluate", "a.npz", "task.toml"], "'vidcore evaluate' is now 'vidcore score'"),
        (["data", "features", "folder"], "'vidcore data features' is now 'vidcore data convert-features'"),
        (["evaluatte"], "no command 'evaluatte'"),
    ],
)
def test_a_renamed_command_names_the_new_one(command: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("CSVLog", "observers", "was removed: pandas.read_json"),
        ("LBFGS", "optimizers", "is not supported: it needs the loss"),
    ],
)
def test_a_component_that_is_not_offered_has_a_reason(name: str, kind: str, why: str) -> None:
    with pytest.raises(PluginError, match=f"^'{name}' {why}"):
        load_plugins().get(name, kind)


def without_torch(folder: Path, *arguments: str) -> tuple[int, str, str]:
    """Return exit code, output and errors of a command without PyTorch."""
    script = "import sys; sys.modules['torch'] = None; from vidcore.cli import main; main()"
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


TASK = """
[job]
type = "ExtractFeatures"
task = "task.toml"
checkpoint = "best.pt"
videos = ["a.mp4"]
[optimizer]
type = "SGD"
lr = 0.1
[train]
epochs = 3
"""
UNCHECKED = "task.toml: optimizer: not checked: SGD needs PyTorch: pip install 'vidcore[torch]'"


def test_without_pytorch_the_other_parts_of_a_task_are_checked(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(TASK)
    (tmp_path / "best.pt").touch()
    (tmp_path / "a.mp4").touch()
    warned = f"warning: {tmp_path}/{UNCHECKED}\n"
    assert without_torch(tmp_path, "check", "task.toml") == (0, "task: fine\n", warned)
    code, _, said = without_torch(tmp_path, "check", "task.toml", "--set", "train.epoch=3")
    assert (code, said.startswith(warned), said.count("error")) == (2, True, 1)
    assert "unknown key: [train] takes no 'epoch'; did you mean 'epochs'?" in said
    for command in (["run", "task.toml"], ["check", "task.toml", "--build"], ["explain", "task.toml", "--schedule"]):
        code, _, said = without_torch(tmp_path, *command)
        assert (code, said) == (2, f"{warned}error: this needs PyTorch: pip install 'vidcore[torch]'\n"), command
    assert without_torch(tmp_path, "list", "optimizers")[0] == 0
