"""Shared by tests across packages: the distributions, their wheels, and clean environments."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from attrs import define, frozen

from vidcore.cli import run

ROOT = Path(__file__).resolve().parents[1]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def requirement_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return canonical(match[0])


@define(slots=False)
class Distribution:
    """One folder of the workspace that becomes a wheel."""

    folder: Path

    @cached_property
    def project(self) -> dict[str, Any]:
        found: dict[str, Any] = tomllib.loads((self.folder / "pyproject.toml").read_text())["project"]
        return found

    @property
    def name(self) -> str:
        return canonical(self.project["name"])

    @cached_property
    def package(self) -> str:
        """Name of the package that it installs."""
        (found,) = (p.name for p in (self.folder / "src").iterdir() if (p / "__init__.py").exists())
        return found

    @property
    def requirements(self) -> dict[str, bool]:
        """Declared distributions -> whether they are required without an extra.

        The extra ``all``, which only repeats others and names packages that are used together, is left out.
        """
        optional = self.project.get("optional-dependencies", {})
        extras = [r for name, listed in optional.items() if name != "all" for r in listed]
        found = dict.fromkeys(map(requirement_name, extras), False)
        return found | dict.fromkeys(map(requirement_name, self.project.get("dependencies", [])), True)

    @cached_property
    def asked_of_the_core(self) -> set[str]:
        """Names of the distributions that come with the core: its OpenCV, and the requested extras."""
        core = distributions()["vidcore"].project
        optional = self.project.get("optional-dependencies", {}).values()
        declared = (*self.project.get("dependencies", []), *(r for listed in optional for r in listed))
        asked = [r for r in declared if requirement_name(r) == "vidcore"]
        extras = [e for r in asked for e in re.findall(r"[\w-]+", "".join(re.findall(r"\[(.*)\]", r)))]
        chosen = [r for r in core["dependencies"] if "opencv" in r] if asked else []
        return {requirement_name(r) for r in (*chosen, *(r for e in extras for r in core["optional-dependencies"][e]))}

    @cached_property
    def modules(self) -> dict[str, Path]:
        """Source files of all modules, by full name."""
        source = self.folder / "src"
        parts = {p: p.relative_to(source).with_suffix("").parts for p in sorted(source.rglob("*.py"))}
        return {".".join(n[:-1] if n[-1] == "__init__" else n): path for path, n in parts.items()}


def distributions() -> dict[str, Distribution]:
    """Every distribution of the workspace, the example included, by name."""
    found = [Distribution(p.parent) for p in sorted(ROOT.glob("p*/*/pyproject.toml"))]
    return {d.name: d for d in found}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test with a parameter ``dist`` for every distribution."""
    if "dist" in metafunc.fixturenames:
        found = distributions()
        metafunc.parametrize("dist", found.values(), ids=found)


@frozen
class CleanEnvironment:
    """A virtual environment without the sources of the workspace."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def install(self, *what: Path) -> None:
        """Install wheels or source folders, without a registry."""
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
        self._run([*pip, "--no-index", "--no-deps", "--no-build-isolation", *map(str, what)], self.folder)

    def run(self, *command: str, cwd: Path | None = None, code: int = 0) -> str:
        """Run a program of this environment and return its output; the exit code must be ``code``."""
        return self._run([str(self.folder / "bin" / command[0]), *command[1:]], cwd or self.folder, code)

    def _run(self, command: list[str], cwd: Path, code: int = 0) -> str:
        hidden = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        env = {k: v for k, v in os.environ.items() if k not in hidden} | {"COLUMNS": "200", "NO_COLOR": "1"}
        done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == code, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


def closure(names: Iterator[str] | set[str]) -> dict[str, importlib.metadata.Distribution]:
    """Return the installed third-party distributions that some require, including themselves."""
    ours, found = set(distributions()), {}
    todo = set(names)
    while todo:
        name = todo.pop()
        if name in found or name in ours:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # for another platform or Python
        wanted = found[name].requires or []
        todo |= {requirement_name(r) for r in wanted if "extra ==" not in r}
    return found


@pytest.fixture(scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., CleanEnvironment]:
    """Make an environment with only the declared third-party requirements of some distributions.

    Those are linked from the running environment instead of downloaded again. The editable
    installs of the workspace stay behind, ``.pth`` files and entry points included.
    """

    def make(*needed: Distribution, also: tuple[str, ...] = ()) -> CleanEnvironment:
        env = CleanEnvironment(tmp_path_factory.mktemp("env"))
        venv.create(env.folder, symlinks=True)
        (site,) = env.folder.glob("lib/python*/site-packages")
        wanted = {r for d in needed for r in d.requirements} | set(also)
        for dist in closure(wanted).values():
            for top in {f.parts[0] for f in dist.files or [] if f.parts[0] not in {"..", "__pycache__"}}:
                if not (site / top).exists():
                    (site / top).symlink_to(Path(str(dist.locate_file(top))))
        return env

    return make


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel of every distribution, built from its unpacked source archive as an index would."""
    found = {}
    for name, dist in distributions().items():
        out = tmp_path_factory.mktemp(name)
        build(dist.folder, "sdist", out)
        (archive,) = out.glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            tar.extractall(out, filter="data")
        build(out / archive.name.removesuffix(".tar.gz"), "wheel", out)
        (found[name],) = out.glob("*.whl")
    return found


def build(folder: Path, target: str, out: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(out)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{target} of {folder.name}: {done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def workspace() -> dict[str, Distribution]:
    return distributions()


@frozen
class Answer:
    """Result of a command."""

    code: int
    out: str
    err: str

    def refuses(self, pattern: str) -> None:
        """Assert that the command prints a one-line error without a traceback."""
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert (self.code, len(errors)) == (2, 1), self
        assert re.search(pattern, errors[0]), self.err
        assert "Traceback" not in self.err + self.out
        assert "bug" not in self.err


@pytest.fixture(scope="session")
def call() -> Callable[..., int]:
    """Runs a command in this process; returns its exit code."""

    def in_this_process(*arguments: str) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            return run(arguments)

    return in_this_process


@pytest.fixture
def vidcore(call: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs a command in this process; returns its result."""

    def run(*arguments: str) -> Answer:
        capfd.readouterr()
        code = call(*arguments)
        return Answer(code, *capfd.readouterr())

    return run
