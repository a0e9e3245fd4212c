"""``vidcore import``."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from vid_mmaction2.command import import_
from vidcore.cli import Context
from vidcore.plugins.catalog import Catalog
from vidcore.task.task import Task


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(import_, arguments, obj=Context(), catch_exceptions=True)
    message = str(result.exception) if result.exception else result.stderr
    return result.exit_code, result.stdout, message


def test_the_command_writes_a_valid_task(tmp_path: Path, catalog: Catalog, published: dict[str, Any]) -> None:
    source, output = tmp_path / "c.json", tmp_path / "task.toml"
    source.write_text(json.dumps(published))
    assert run(str(source), "-o", str(output))[0] == 0
    assert Task.load(output, catalog).table["optimizer"]["type"] == "AdamW"
    code, out, _ = run(str(source))
    assert code == 0
    assert out == output.read_text()


def test_the_command_reports_skipped_statements(tmp_path: Path, published: dict[str, Any]) -> None:
    source = tmp_path / "c.py"
    assignments = "".join(f"{key} = {value!r}\n" for key, value in published.items())
    source.write_text(f"import os\nos.environ['A'] = 'b'\n{assignments}")
    result = CliRunner().invoke(import_, [str(source)], obj=Context())
    assert result.exit_code == 0
    note, statement, implied, variables = result.stderr.splitlines()
    assert note.startswith(f"note: {source}: auto_scale_lr: the learning rate is for 64 samples per step")
    assert statement == f"left out: {source}:2: os.environ['A'] = 'b'"
    assert implied.startswith(f"left out: {source}: as vidcore does so anyway: CheckpointHook, LoggerHook, PackAc")
    assert variables == f"left out: {source}: variables, whose values are where the file uses them: custom_variable"
    source.write_text(f"resume = True\n{assignments}")
    lines = CliRunner().invoke(import_, [str(source)], obj=Context()).stderr.splitlines()
    assert f"left out: {source}: resume: True: use vidcore run --resume" in lines


def test_the_command_names_the_file_of_a_task_that_is_not_valid(tmp_path: Path, published: dict[str, Any]) -> None:
    source = tmp_path / "c.json"
    source.write_text(json.dumps(published | {"train_cfg": {"max_epochs": "many"}}))
    _, _, message = run(str(source))
    assert message == f"{source}: the Task made from it: train.epochs: must be an integer, got 'many'"


def test_the_command_refuses_or_writes_a_part(tmp_path: Path, published: dict[str, Any]) -> None:
    source, output = tmp_path / "c.json", tmp_path / "task.toml"
    source.write_text(json.dumps(published | {"custom_hooks": [{"type": "MyHook"}]}))
    code, _, message = run(str(source), "-o", str(output))
    assert code != 0
    assert f"{source}: custom_hooks[0]: MyHook has no equivalent here" in message
    assert not output.exists()
    code, _, message = run(str(source), "-o", str(output), "--partial")
    assert code == 0
    assert "left out" in message
    assert "optimizer" in tomllib.loads(output.read_text())
