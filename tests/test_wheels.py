"""Wheels of every package, installed without the sources, with nothing beside them but what they declare."""

from __future__ import annotations

import json
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALONE = {
    "vidcore": [],
    "vid-recognition": ["vidcore"],
    "vid-mmaction2": ["vidcore", "vid-recognition"],
    "vid-example": ["vidcore"],
}
"""What of ours has to be installed with each distribution."""

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


def test_every_distribution_is_tried(workspace: dict[str, Any]) -> None:
    assert set(ALONE) == set(workspace)


@pytest.mark.parametrize("name", ALONE)
def test_a_wheel_holds_all_that_the_sources_hold(name: str, wheels: dict[str, Path], workspace: dict[str, Any]) -> None:
    source = workspace[name].folder / "src"
    wanted = {
        str(p.relative_to(source))
        for p in source.rglob("*")
        if p.is_file() and "__pycache__" not in p.relative_to(source).parts
    }
    with zipfile.ZipFile(wheels[name]) as archive:
        held = {n for n in archive.namelist() if ".dist-info/" not in n}
        licences = [archive.read(n) for n in archive.namelist() if n.endswith("licenses/LICENSE")]
    assert held == wanted
    assert f"{workspace[name].package}/py.typed" in held
    assert licences == [(ROOT / "LICENSE").read_bytes()]


@pytest.mark.parametrize("name", ALONE)
def test_a_wheel_says_what_it_is(name: str, wheels: dict[str, Path], workspace: dict[str, Any]) -> None:
    said = metadata(wheels[name])
    assert said["License-Expression"] == "Apache-2.0"
    assert said["Requires-Python"] == ">=3.11"
    assert said["Summary"]
    assert len(str(said.get_payload()).split()) > 30, "the README of the package is its page in an index"


@pytest.mark.parametrize("name", ALONE)
def test_a_wheel_works_alone(
    name: str, wheels: dict[str, Path], workspace: dict[str, Any], clean_environment: Any
) -> None:
    ours = [*ALONE[name], name]
    env = clean_environment(*(workspace[n] for n in ours))
    env.install(*(wheels[n] for n in ours))

    found = json.loads(env.run("python", "-c", IMPORT_ALL, workspace[name].package).splitlines()[-1])
    assert set(found) == {m for m in workspace[name].modules if not m.endswith("__main__")}
    assert all(Path(file).is_relative_to(env.folder) for file in found.values()), found

    plugins = env.run("vidcore", "plugins")
    assert {n for n in ALONE if n in plugins.split()} == set(ours)
    assert "broken" not in plugins
    assert env.run("vidcore", "list").strip()
