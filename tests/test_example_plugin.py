"""An external package, installed from a folder outside the workspace, can use everything."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
OFFERS = {
    "models": "MotionNet",
    "datasets": "NamedVideos",
    "transforms": "ReverseTime",
    "metrics": "WorstClass",
    "observers": "Diary",
    "commands": "sliding-square",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("elsewhere") / "my plugin"
    shutil.copytree(ROOT / "plugins" / "example", copy, ignore=shutil.ignore_patterns("__pycache__", "runs", "videos"))
    return copy


@pytest.fixture(scope="module")
def env(folder: Path, clean_environment: Callable[..., Any], wheels: dict[str, Path], workspace: dict[str, Any]) -> Any:
    made = clean_environment(workspace["vidcore"], workspace["vid-example"], also=("hatchling",))
    made.install(wheels["vidcore"], folder)
    return made


def test_the_plugin_is_listed(env: Any) -> None:
    plugins = env.run("vidcore", "plugins")
    assert "vid-example" in plugins
    assert "vid-recognition" not in plugins
    for kind, name in OFFERS.items():
        assert name in env.run("vidcore", "list", kind).split(), kind
    assert "sliding-square" in env.run("vidcore", "--help")


def test_a_task_uses_all_its_components(env: Any, folder: Path) -> None:
    task = (folder / "task.toml").read_text()
    assert [n for k, n in OFFERS.items() if k != "commands" and f'type = "{n}"' not in task] == []

    commands = [line[2:] for line in (folder / "README.md").read_text().splitlines() if line.startswith("$ vidcore")]
    assert {c.split()[1] for c in commands} >= {"plugins", "sliding-square", "check", "run"}
    for command in commands:
        env.run(*command.split(), cwd=folder)

    (report,) = folder.rglob("report.json")
    assert json.loads(report.read_text())["scores"]["acc/worst_class"] == 1.0
    (diary,) = folder.rglob("diary.txt")
    assert "acc/worst_class 1.000" in diary.read_text().splitlines()[-1]


def test_a_misspelt_argument_is_found_in_a_plugin(env: Any, folder: Path) -> None:
    wrong = folder / "wrong.toml"
    wrong.write_text((folder / "task.toml").read_text().replace("prob = 0.5", "probability = 0.5"))
    env.run("vidcore", "check", "wrong.toml", cwd=folder, code=2)
