"""Help, lists and checks import no heavy libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"av", "cv2", "decord", "matplotlib", "numpy", "rich", "scipy", "torch"}
TASK = """
[model]
type = "Recognizer3D"
[model.backbone]
type = "ResNet3dSlowOnly"
depth = 50
[model.cls_head]
type = "I3DHead"
in_channels = 2048
num_classes = 4
[data.val.dataset]
type = "VideoDataset"
ann_file = "val.txt"
[data.val.pipeline]
open = { type = "OpenVideo" }
sample = { type = "SampleFrames", clip_len = 8 }
decode = { type = "Decode" }
format = { type = "FormatShape", input_format = "NCTHW" }
[metrics.acc]
type = "AccMetric"
"""

FLIP = """
[data.train.pipeline.flip]
type = "Flip"
_before_ = "format"
[optimizer]
type = "SGD"
lr = 0.1
"""


def imported(*arguments: str, cwd: Path, code: int = 0) -> set[str]:
    """Return the top-level names of all modules that a ``vidcore`` command imports."""
    command = [sys.executable, "-X", "importtime", "-m", "vidcore", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("run", "--help"), ("list",), ("plugins",), ("explain", "task.toml")]
)
def test_nothing_heavy_is_imported(arguments: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(TASK)
    names = imported(*arguments, cwd=tmp_path)
    assert "vidcore" in names
    assert not names & HEAVY


def test_checking_a_task_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "task.toml").write_text(TASK)  # its list is missing, which is a warning
    assert not imported("check", "task.toml", cwd=tmp_path) & HEAVY
    (tmp_path / "train.toml").write_text(TASK.replace("data.val", "data.train") + FLIP)
    assert not imported("check", "train.toml", cwd=tmp_path) & HEAVY
    (tmp_path / "wrong.toml").write_text(TASK.replace("clip_len", "clip_length"))
    assert not imported("check", "wrong.toml", cwd=tmp_path, code=2) & HEAVY
