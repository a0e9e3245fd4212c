"""Run every command and snippet of README and docs; CONTRIBUTING.md describes the convention."""

from __future__ import annotations

import doctest
import json
import multiprocessing
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from vidcore.config.signature import read_signature
from vidcore.plugins.catalog import load_plugins
from vidcore.task.task import Task

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("p*/*/README.md")])
RUN = [page for page in PAGES if page.parent.name != "example" and page.parent != ROOT]
"""Pages whose commands run unchanged; the example has its own test, and CONTRIBUTING.md describes this one."""

SETUP = ("pip ", "python3 -m venv ", "hatch ", "pipx ")
BLOCK = re.compile(
    r"^<!-- before: (?P<before>.*?) -->$|^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
SETTINGS = {
    "COLUMNS": "200",
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "2",
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
}
SHELL = re.compile(r"[]|&;<>*?$`(){}[~#!\\]")
"""What only a shell understands."""
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["torch", "cv2", "av", "vidcore.training", "vidcore.predict.predictor"])
PREPARE = """
import os, sys
os.chdir({folder!r})
os.environ.update({env!r})
for number, name in ((1, {out!r}), (2, {err!r})):
    os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT), number)
sys.argv, sys.path = {argv!r}, ["", *sys.path]
"""


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    for match in BLOCK.finditer(page.read_text()):
        if match["before"] is not None:
            yield "console", f"$ {match['before']}"
        else:
            yield match["kind"], match["text"]


def commands(text: str) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output below it."""
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif found:
            command, output = found[-1]
            found[-1] = (command + "\n" + line, "") if command.endswith("\\") else (command, output + line + "\n")
    return found


def run(command: str, folder: Path) -> str:
    """Run a line of a shell and return what it prints."""
    words = [] if SHELL.search(command) else shlex.split(command)
    if words[:1] == ["vidcore"]:
        return python("from vidcore.cli import main; main()", folder, words)
    env = os.environ | SETTINGS
    line = ["bash", "-ec", command]
    done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def python(code: str, folder: Path, arguments: list[str] | None = None) -> str:
    """Run Python code in a fork of a new process that has imported PyTorch, which takes seconds; return its output."""
    with TemporaryDirectory() as place:
        out, err = Path(place, "out"), Path(place, "err")
        prepared = PREPARE.format(
            folder=str(folder), out=str(out), err=str(err), env=SETTINGS, argv=arguments or ["-c"]
        )
        process = FORKS.Process(target=exec, args=(prepared + code, {"__name__": "__main__"}))
        process.start()
        process.join(600)
        process.kill()  # if it still runs
        said = f"{out.read_text()}\n{err.read_text()}"
        assert process.exitcode == 0, f"{arguments or code} ended with {process.exitcode}:\n{said}"
        return out.read_text()


def run_page(page: Path, folder: Path) -> None:
    for kind, text in blocks(page):
        if kind == "toml":
            tomllib.loads(text)
        if name := re.match(r"# file: (\S+)\n", text):
            (folder / name[1]).parent.mkdir(parents=True, exist_ok=True)
            (folder / name[1]).write_text(text)
        elif kind == "python":
            python(text, folder)
        elif kind == "console":
            for command, output in commands(text):
                if not command.startswith(SETUP):
                    got = run(command, folder)
                    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
                    assert not output or doctest.OutputChecker().check_output(output, got, flags), f"{command}:\n{got}"


@pytest.mark.parametrize("page", RUN, ids=lambda p: str(p.relative_to(ROOT)))
def test_page(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


def test_the_readme_trains_a_model_that_has_learned(tmp_path: Path) -> None:
    run_page(ROOT / "README.md", tmp_path)
    report = json.loads((tmp_path / "runs" / "demo" / "run" / "report.json").read_text())
    assert report["scores"]["acc/top1"] >= 0.95
    assert all((tmp_path / file).stat().st_size for file in report["files"])
    assert any(file.endswith(".png") for file in report["files"])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for file, _, anchor in (link.partition("#") for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text())):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page: its headings, in GitHub's spelling."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_named_recipes_exist(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])[a-z0-9][\w-]*_[\w-]+-(?:rgb|flow|feature)\b(?!_|\.)", page.read_text()))
    assert named <= load_plugins().recipes.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_listed_scores_are_those_of_the_recipes(page: Path) -> None:
    catalog = load_plugins()
    for name, score in re.findall(r"^\|.*\| `(\w[\w-]+)` \| ([\d.]+) \|$", page.read_text(), re.MULTILINE):
        if name in catalog.recipes:
            assert f"{Task.load(name, catalog).table['info']['top1']:.1f}" == score, name


def test_ci_and_contributors_run_the_commands_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    setup = [line.removeprefix("$ ") for line in readme.splitlines() if line.startswith("$ python3 -m venv")]
    (demo,) = (line for line in setup if line.endswith("run demo"))
    (test,) = (line for line in setup if line.endswith("run test"))
    assert demo == test.replace("run test", "run demo")
    assert f"\n{test} || exit\n" in (ROOT / ".ci" / "run").read_text()
    assert f"$ {test}\n" in (ROOT / "CONTRIBUTING.md").read_text()


def test_the_demo_script_is_what_the_readme_explains() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["envs"]["default"]["scripts"]
    readme = (ROOT / "README.md").read_text()
    assert all(f"$ {command}\n" in readme for command in scripts["demo"] if command.startswith("vidcore"))


@pytest.mark.parametrize("table", ["TaskTable", "Data", "DataPart"])
def test_the_reference_lists_every_table(table: str) -> None:
    assert undocumented(f"vidcore.task.schema:{table}") == []


@pytest.mark.parametrize(
    "table", ["engine.options:TrainOptions", "engine.options:RuntimeOptions", "data.options:LoaderOptions"]
)
def test_the_reference_lists_every_option_and_its_default(table: str) -> None:
    target = f"vidcore.{table}"
    assert undocumented(target) == []
    page = (ROOT / "docs" / "configuration.md").read_text()
    for name, parameter in read_signature(target).parameters.items():
        if isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool):
            assert f"| `{name}` | {parameter.default} |" in page


def undocumented(target: str) -> list[str]:
    page = (ROOT / "docs" / "configuration.md").read_text()
    return [name for name in read_signature(target).parameters if f"| `{name}` |" not in page]
