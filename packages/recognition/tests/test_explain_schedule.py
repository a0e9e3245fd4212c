"""``vidcore explain --schedule``."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from vidcore.cli import Context
from vidcore.cli.show import explain
from vidcore.errors import ConfigError


def test_explain_draws_the_run(tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    task.write_text(
        """
        train = { epochs = 3 }
        optimizer = { type = "SGD", lr = 0.4, momentum = 0.9 }
        schedule.warmup = { type = "LinearLR", start_factor = 0.25, end = 1, convert_to_iter_based = true }
        schedule.down = { type = "MultiStepLR", milestones = [2] }
        [model]
        type = "Recognizer2D"
        backbone = { type = "ResNet", depth = 18 }
        cls_head = { type = "TSNHead", num_classes = 2, in_channels = 512 }
        """
    )
    out = tmp_path / "course.csv"
    command = [str(task), "--schedule", "--steps-per-epoch", "4", "-o", str(out)]
    result = CliRunner().invoke(explain, command, obj=Context(), catch_exceptions=False)
    assert "learning rate: first 0.1, highest 0.4, last 0.04 (12 steps, 3 epochs of 4)" in result.output
    rows = [line.split(",") for line in out.read_text().splitlines()]
    assert rows[0] == ["step", "epoch", "lr", "momentum_factor"]
    wanted = [0.1, 0.2, 0.3, 0.4] + [0.4] * 4 + [0.04] * 4
    assert [float(row[2]) for row in rows[1:]] == pytest.approx(wanted)
    assert [row[1] for row in rows[1:]] == ["1"] * 4 + ["2"] * 4 + ["3"] * 4
    more = ["data.train={dataset={type='VideoDataset',ann_file='x.csv'},batch_size=8}", "train.base_batch_size=32"]
    scaled = [*command, "--set", more[0], "--set", more[1], "--set", "optimizer={type='Adam',_replace_=true}"]
    result = CliRunner().invoke(explain, scaled, obj=Context(), catch_exceptions=False)
    assert "first 6.25e-05, highest 0.00025, last 2.5e-05" in result.output, "of the rate that Adam takes by itself"
    why = "optimizer.lr 0.001 x 8/32: for 32 samples per step (train.base_batch_size), and here 8"
    assert f"note: learning rate 0.00025 = {why}" in result.output
    with pytest.raises(ConfigError, match=r"data.train: is missing; give the length of an epoch with"):
        CliRunner().invoke(explain, command[:2], obj=Context(), catch_exceptions=False)
