"""The console and metrics.jsonl."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vidcore.engine.observers import JsonLines
from vidcore.protocols import StepValues
from vidcore.tools.console import Console


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def console(terminal: bool, **options: Any) -> tuple[Console, Screen]:
    watching = Console(**options)
    screen = Screen(terminal)
    watching.out = screen
    return watching, screen


INFO = {"steps": 20, "steps_per_epoch": 10, "resumed_step": 0, "parameters": 1_500_000}


def test_plain_lines(tmp_path: Path) -> None:
    watching, screen = console(False, seconds=0.0)
    watching.on_start(tmp_path, INFO)
    values = StepValues(losses={"loss": 0.123456}, lr=0.01, seconds={"data": 0.9, "forward": 0.1})
    watching.on_step(1, 5, values)
    watching.on_step(1, 6, StepValues(losses={"loss": 0.5}))
    watching.on_progress(1, 2)
    watching.on_evaluation(1, 10, {"acc/top1": 0.5})
    watching.on_evaluation(2, 20, {})  # a model may only write files for another one
    watching.on_end({})
    lines = screen.getvalue().splitlines()
    assert lines[0] == f"20 steps (2 epochs of 10); 1.50 million parameters; writes to {tmp_path}"
    assert lines[1].startswith("epoch 1/2  step 5/20  loss 0.1235  lr 0.01  (90% of the time waiting for data)")
    assert "left 0:00:00" in lines[1]
    assert lines[2].startswith("epoch 1/2  step 6/20  loss 0.5")
    assert lines[3:] == ["evaluating  batch 1/2", "epoch 1  step 10  evaluation: acc/top1 0.5"]


def test_plain_lines_are_rate_limited(tmp_path: Path) -> None:
    watching, screen = console(False, seconds=1000.0)
    watching.on_start(tmp_path, {**INFO, "resumed_step": 3})
    for step in range(4, 21):
        watching.on_step(1, step, StepValues(losses={"loss": 1.0}))
    lines = screen.getvalue().splitlines()
    assert "from step 3" in lines[0]
    assert [line.split()[3] for line in lines[1:]] == ["4/20", "20/20"], "the first and the last"


def test_a_bar_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("TERM", "xterm")
    watching, screen = console(True)
    watching.on_start(tmp_path, INFO)
    for step in range(1, 21):
        watching.on_step(1 + step // 11, step, StepValues(losses={"loss": 0.25}))
    watching.on_progress(1, 2)
    watching.on_evaluation(2, 20, {"acc/top1": 0.75})
    watching.on_end({})
    text = screen.getvalue()
    for wanted in ("epoch 2/2  20/20", "loss 0.25", "evaluation: acc/top1 0.75", "0:00:00 left"):
        assert wanted in text
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l"), "the cursor was not restored"


def test_the_bar_ends_with_a_failure(tmp_path: Path) -> None:
    watching, screen = console(True)
    watching.on_start(tmp_path, INFO)
    watching.on_failure(RuntimeError())
    assert screen.getvalue().rindex("\x1b[?25h") > screen.getvalue().rindex("\x1b[?25l")


def test_an_interrupted_run_prints_where_it_resumes(tmp_path: Path) -> None:
    watching, screen = console(False)
    watching.on_start(tmp_path, INFO)
    watching.on_failure(KeyboardInterrupt())
    watching.on_checkpoint(tmp_path, 1, 7)
    watching.on_failure(KeyboardInterrupt())
    watching.on_failure(RuntimeError())
    assert screen.getvalue().splitlines()[1:] == [
        "stopped; --resume starts over (no checkpoint yet)",
        "stopped; --resume resumes at step 7",
    ]


def test_evaluation_alone(tmp_path: Path) -> None:
    for terminal in (False, True):
        watching, screen = console(terminal)
        watching.on_start(tmp_path, {"steps": 0, "steps_per_epoch": 1, "resumed_step": 0, "parameters": 0})
        watching.on_progress(1, 2)
        watching.on_end({})
        assert "step" not in screen.getvalue()


def test_json_lines_of_a_run(toy: ModuleType, tmp_path: Path) -> None:
    toy.train(tmp_path, epochs=2)
    records = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [r["kind"] for r in records] == (["step"] * 6 + ["epoch", "evaluation"]) * 2
    steps = [r for r in records if r["kind"] == "step"]
    assert [r["step"] for r in steps] == list(range(1, 13))
    epoch = records[6]
    assert (epoch["epoch"], epoch["step"]) == (1, 6)
    assert epoch["loss"] == pytest.approx(sum(r["loss"] for r in steps[:6]) / 6)


def test_json_lines_drop_repeated_steps(tmp_path: Path) -> None:
    lines = JsonLines()
    lines.on_start(tmp_path, {"resumed_step": 0, "evaluated_step": 0})
    for step in (1, 2, 3, 4):
        lines.on_step(1, step, StepValues(losses={"loss": float("inf") if step == 1 else 1.0}))
        if step in (2, 4):
            lines.on_evaluation(1, step, {"acc": 0.5})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"kind": "step", "ep')
    lines.on_start(tmp_path, {"resumed_step": 2, "evaluated_step": 0})  # killed in the evaluation after step 2
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(r["kind"], r["step"]) for r in records] == [("step", 1), ("step", 2)]
    assert records[0]["loss"] == "inf"
