"""What the packages say about themselves: their ``pyproject.toml`` files."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECTS: dict[Path, dict[str, Any]] = {
    path.parent: tomllib.loads(path.read_text())["project"] for path in sorted(ROOT.glob("p*/*/pyproject.toml"))
}
NAMES = {project["name"]: folder for folder, project in PROJECTS.items()}
CORE = PROJECTS[ROOT / "packages" / "core"]
NUMBER = re.compile(r"(\d+)\.(\d+)\.\d+").fullmatch
REGISTRIES = re.compile(r"pypi\.org|pythonhosted|download\.pytorch|conda\.anaconda")

each = pytest.mark.parametrize("folder", PROJECTS, ids=lambda p: p.name)


def requirements(project: dict[str, Any]) -> list[str]:
    extras = project.get("optional-dependencies", {}).values()
    return [*project["dependencies"], *(requirement for extra in extras for requirement in extra)]


def name(requirement: str) -> str:
    found = re.match(r"[\w-]+", requirement)
    assert found
    return found[0]


@each
def test_every_package_says_what_it_is_and_where_it_comes_from(folder: Path) -> None:
    project = PROJECTS[folder]
    assert project["version"] == CORE["version"]
    assert set(project["urls"]) == {"Homepage", "Documentation", "Changelog", "Source", "Issues"}
    home = CORE["urls"]["Homepage"]
    assert all(url.startswith(home) for url in project["urls"].values())
    assert project["urls"]["Source"] == f"{home}/tree/main/{folder.relative_to(ROOT).as_posix()}"
    assert len(project["keywords"]) >= 3
    assert project["keywords"] == sorted(project["keywords"])
    assert project["requires-python"] == ">=3.11"
    pythons = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: 3\.\d+$", c)]
    assert pythons == ["3.11", "3.12", "3.13", "3.14"]
    assert {"Intended Audience :: Science/Research", "Topic :: Multimedia :: Video", "Typing :: Typed"} < {
        *project["classifiers"]
    }
    assert not any(c.startswith("License ::") for c in project["classifiers"]), "project.license has it"


@each
def test_every_package_ships_its_licence_and_its_types(folder: Path) -> None:
    project = PROJECTS[folder]
    assert (project["license"], project["license-files"]) == ("Apache-2.0", ["LICENSE"])
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    package = folder / "src" / project["name"].replace("-", "_")
    assert (package / "py.typed").is_file()
    assert "Licence: Apache-2.0" in (folder / "README.md").read_text() or folder.name == "example"


@each
def test_siblings_are_bounded_to_versions_that_fit(folder: Path) -> None:
    found = NUMBER(CORE["version"])
    assert found
    bounds = f">={CORE['version']},<{found[1]}.{int(found[2]) + 1}"
    ours = [r for r in requirements(PROJECTS[folder]) if name(r) in NAMES and name(r) != PROJECTS[folder]["name"]]
    assert [r for r in ours if not r.endswith(bounds)] == []
    assert ours, "every package but the core needs the core, which names the others in its extra"


def test_one_extra_has_everything() -> None:
    extras = CORE["optional-dependencies"]
    own = f"vidcore[{','.join(sorted(extras.keys() - {'all'}))}]"
    others = {name(r) for r in extras["all"]} - {"vidcore"}
    assert extras["all"][0] == own
    assert others == NAMES.keys() - {"vidcore", "vid-example"}
    readme = (ROOT / "packages/core/README.md").read_text()
    assert all(f"vidcore[{extra}]" in readme for extra in extras)


def test_the_readme_says_how_to_install_without_a_gpu_and_names_no_registry() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "PyTorch's own page" in readme
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("p*/*/*.md"), *ROOT.glob("p*/*/pyproject.toml")]
    assert [page for page in pages if REGISTRIES.search(page.read_text())] == []
