"""Notes about steps that mirror classes such as left and right."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from vidcore.cli import Context, cli

FLIPPED = """
[model]
type = "Recognizer2D"
backbone = { type = "ResNet", depth = 18 }
cls_head = { type = "TSNHead", num_classes = 3, in_channels = 512 }

[data]
classes = "classes.txt"

[data.train.dataset]
type = "VideoDataset"
ann_file = "train.csv"

[data.train.pipeline]
flip = { type = "Flip" }
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("", "('left hand', 'right hand')"),
        ("data.train.pipeline.flip.flip_label_map={0=1,1=0}", None),
        ("data.train.pipeline.flip.flip_label_map={0=1}", "('right hand')"),
        ('data.train.pipeline.flip.direction="vertical"', None),
        ("data.train.pipeline.flip.flip_ratio=0.0", None),
        ("data.train.pipeline.flip=false", None),
    ],
)
def test_check_names_classes_that_a_flip_spoils(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, said: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "task.toml").write_text(FLIPPED)
    (tmp_path / "classes.txt").write_text("left hand\nright hand\nboth\n")
    arguments = ["check", "task.toml", *(["--set", change] if change else [])]
    result = CliRunner().invoke(cli, arguments, obj=Context(), catch_exceptions=False)
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: ")]
    key = "data.train.pipeline.flip"
    wanted = f"Flip mirrors videos whose class names a side {said}, and keeps the class"
    assert notes == ([f"note: {key}: {wanted}: set flip_label_map, or remove the step ({key} = false)"] if said else [])
