"""Wheels of every package, installed without the sources and with only their declared requirements."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]

IMPORT_ALL = """
import importlib, json, pkgutil, sys
found = {}
package = importlib.import_module(sys.argv[1])
found[sys.argv[1]] = package.__file__
def fail(name): raise
for info in pkgutil.walk_packages(package.__path__, sys.argv[1] + ".", onerror=fail):
    if not info.name.endswith("__main__"):
        found[info.name] = importlib.import_module(info.name).__file__
print(json.dumps(found))
"""


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def with_ours(dist: Any, workspace: dict[str, Any]) -> dict[str, Any]:
    """Return the distribution and those of ours that it requires, directly or not."""
    found = {dist.name: dist}
    for name in set(dist.requirements) & set(workspace):
        found |= with_ours(workspace[name], workspace)
    return found


def test_a_wheel_has_all_files_of_the_sources(dist: Any, wheels: dict[str, Path]) -> None:
    source = dist.folder / "src"
    files = (p.relative_to(source) for p in source.rglob("*") if p.is_file())
    wanted = {str(p) for p in files if "__pycache__" not in p.parts}
    with zipfile.ZipFile(wheels[dist.name]) as archive:
        held = {n for n in archive.namelist() if ".dist-info/" not in n}
        licences = [archive.read(n) for n in archive.namelist() if n.endswith("licenses/LICENSE")]
    assert held == wanted
    assert f"{dist.package}/py.typed" in held
    assert licences == [(ROOT / "LICENSE").read_bytes()]


def test_a_wheel_has_metadata(dist: Any, wheels: dict[str, Path]) -> None:
    said = metadata(wheels[dist.name])
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Summary"]
    assert len(str(said.get_payload()).split()) > 30, "the README of the package, its page on an index"


def test_a_wheel_works_alone(
    dist: Any, wheels: dict[str, Path], workspace: dict[str, Any], clean_environment: Any
) -> None:
    ours = with_ours(dist, workspace)
    env = clean_environment(*ours.values())
    env.install(*(wheels[name] for name in ours))

    found = json.loads(env.run("python", "-c", IMPORT_ALL, dist.package).splitlines()[-1])
    assert set(found) == {m for m in dist.modules if not m.endswith("__main__")}
    assert all(Path(file).is_relative_to(env.folder) for file in found.values()), found

    plugins = env.run("vidcore", "plugins")
    assert set(workspace) & set(plugins.split()) == set(ours)
    assert "broken" not in plugins
    assert env.run("vidcore", "list").strip()


def test_localization_passes_its_tests_without_recognition(
    wheels: dict[str, Path], workspace: dict[str, Any], clean_environment: Any
) -> None:
    ours = with_ours(workspace["vid-localization"], workspace)
    assert set(ours) == {"vidcore", "vid-localization"}
    env = clean_environment(*ours.values(), also=("pytest",))
    env.install(*(wheels[name] for name in ours))
    tests = shutil.copytree(ours["vid-localization"].folder / "tests", env.folder / "tests")
    slow = "not stages and not _run and not learns and not a_task_trains"  # trainings, which take seconds
    said = env.run("python", "-m", "pytest", "-q", "--import-mode=importlib", "-W", "error", "-k", slow, str(tests))
    passed = re.search(r"(\d+) passed", said)
    assert passed and int(passed[1]) > 100
    assert "skipped" not in said
