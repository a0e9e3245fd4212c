"""Plugins that are one file (``--plugin``), and where the code of a user failed."""

from __future__ import annotations

import itertools
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vidcore import cli
from vidcore.config.bind import build_component
from vidcore.data.options import LoaderOptions
from vidcore.data.pool.loader import Loader
from vidcore.data.wrappers import RepeatDataset
from vidcore.errors import ComponentError, ConfigError, PluginError, UserError
from vidcore.files import sha256
from vidcore.plugins.catalog import load_plugins
from vidcore.protocols import Dataset
from vidcore.sample import Sample
from vidcore.testing import check_component, components_of

NUMBERS = itertools.count()
HOOK = """
from vidcore.plugins.hooks import hookimpl

@hookimpl
def vidcore_components():
    return {"transforms": {"Add": __name__ + ":Add"}}
"""
ADD = '''from attrs import frozen

@frozen
class Add:
    """Adds a number to meta."""

    number: float = 1.0
    """The number."""

    def __call__(self, sample, rng):
        return sample.replace(meta={**sample.meta, "sum": sample.meta["sum"] + self.number})
'''


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Write a module with a name of its own; it is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    names: list[str] = []

    def make(text: str) -> Path:
        names.append(f"my_plugin_{next(NUMBERS)}")
        path = tmp_path / f"{names[-1]}.py"
        path.write_text(text)
        return path

    yield make
    for name in names:
        sys.modules.pop(name, None)


def test_a_file_offers_components(write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = write(ADD + HOOK)
    catalog = load_plugins(files=[path, path.name])
    assert catalog.files == {path.name: f"sha256:{sha256(path)}"}
    add = build_component({"type": "Add", "number": 2}, "transforms", catalog)
    assert add(Sample(meta={"sum": 1}), None).meta == {"sum": 3}
    for arguments in (["list", "transforms", "--plugin", path.name], [f"--plugin={path}", "list", "transforms"]):
        assert cli.run(arguments) == 0
        assert f"{path.stem}:Add" in capsys.readouterr().out
    assert cli.run(["list", "transforms"]) == 0
    assert path.stem not in capsys.readouterr().out


def test_another_process_imports_it(write: Callable[[str], Path]) -> None:
    path = write(ADD + HOOK)
    add = build_component({"type": "Add"}, "transforms", load_plugins(files=[path]))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(add, (Sample(meta={"sum": 1}), None)).meta == {"sum": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = (", r"^my_plugin_\d+\.py:2: SyntaxError: "),
        ("import json\n\n\njson.loads('{')", r"^my_plugin_\d+\.py:4: JSONDecodeError: "),
        ("import no_such_module", r"^my_plugin_\d+\.py:1: ModuleNotFoundError: "),
        ("raise SystemExit('no licence')", r"^my_plugin_\d+\.py:1: SystemExit: no licence"),
        ("class Net: ...", r'my_plugin_\d+\.py: offers nothing; add .* \{"models": \{"Net": "my_plugin_\d+:Net"\}\}'),
        (HOOK.replace("vidcore_components", "vidcore_component"), r"vidcore_component is not a hook; did you mean"),
        (HOOK.replace("return {", "return 3 / 0 or {"), r"^my_plugin_\d+\.py:6: ZeroDivisionError: "),
        (HOOK.replace('"Add":', '"Resize":'), r"'Resize' is offered twice: by vidcore .* and by my_plugin_\d+\.py"),
    ],
)
def test_a_file_that_cannot_be_used(write: Callable[[str], Path], text: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        load_plugins(files=[write(text)])


@pytest.mark.parametrize("name", ["gone.py", "folder.py", "my-model.py", "notes.txt", "json.py"])
def test_a_name_that_cannot_be_imported(write: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.py").mkdir()
    for other in ("my-model.py", "notes.txt", "json.py"):
        (tmp_path / other).write_text(HOOK)
    taken = "another module is called 'json' .*rename the file"
    with pytest.raises(PluginError, match=taken if name == "json.py" else "must be a Python file with a name like"):
        load_plugins(files=[name])


def test_a_component_that_cannot_be_built_shows_its_line(write: Callable[[str], Path]) -> None:
    text = "class Add:\n    'Adds.'\n    def __init__(self, number: float = 1.0) -> None:\n        self.x = number.y\n"
    path = write(text + HOOK)
    with pytest.raises(UserError, match=rf"Add: 'float' object .* \(AttributeError at {path.name}:4\)") as caught:
        build_component({"type": "Add"}, "transforms", load_plugins(files=[path]))
    assert isinstance(caught.value.__cause__, AttributeError)


class Numbers(Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Sample:
        return Sample(index=index, path=f"{index}.mp4", meta={"total": 1})


@pytest.mark.parametrize("workers", [0, 1])
def test_a_step_that_fails_shows_its_line_without_a_traceback(write: Callable[[str], Path], workers: int) -> None:
    path = write(ADD + HOOK)
    add = build_component({"type": "Add"}, "transforms", load_plugins(files=[path]))
    loader = Loader(RepeatDataset(Numbers(), 1), {"add": add}, LoaderOptions(workers=workers), name="data.val")
    line = ADD.splitlines().index("    def __call__(self, sample, rng):") + 2
    with pytest.raises(ComponentError) as caught:
        list(loader)
    assert str(caught.value) == (f"sample 0 (0.mp4), data.val.pipeline.add: KeyError: 'sum' (at {path.name}:{line})")
    assert "Traceback" in caught.value.__notes__[0]


def test_a_command_that_fails_shows_its_line(write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    text = "import click, math\n\n@click.command()\ndef root():\n    math.sqrt(-1)\n"
    hook = HOOK.replace("components", "commands").replace('{"transforms": {"Add"', '{"root"').replace("Add", "root")
    path = write(text + hook.replace("}}", "}"))
    assert cli.run(["root", "--plugin", path.name]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told == [
        f"error: ValueError: math domain error (at {path.name}:5)",
        "This line is in a plugin; rerun with --debug for a traceback.",
    ]
    with pytest.raises(ValueError, match="math domain"):
        cli.run(["root", "--debug", "--plugin", path.name])


@pytest.mark.parametrize(
    "source",
    [
        "class Add:\n    'Adds.'\n    def __init__(self, number): self.number = number\n",
        "import attrs\n@attrs.define\nclass Add:\n    number = attrs.field(default=1)\n",
        "def Add(a: int, number=3): return None\n",
    ],
)
def test_an_argument_without_a_type_is_refused(write: Callable[[str], Path], source: str) -> None:
    path = write(source + HOOK)
    line = next(i for i, text in enumerate(source.splitlines(), 1) if "number" in text)
    with pytest.raises(ConfigError, match=rf"{path}:{line}: argument 'number' of Add has no type; annotate it"):
        build_component({"type": "Add", "number": 1}, "transforms", load_plugins(files=[path]))


def test_a_task_cannot_name_a_plugin(write: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = write(ADD + HOOK)
    Path("task.toml").write_text(f'plugin = "{path.name}"\n[model]\ntype = "X"\n')
    assert cli.run(["check", "task.toml"]) == 2
    assert "task.toml: plugin: a Task cannot run code: use --plugin on the command line" in capsys.readouterr().err


def test_a_changed_file_is_noticed(write: Callable[[str], Path]) -> None:
    path = write(ADD + HOOK)
    catalog = load_plugins(files=[path])
    catalog.compare_files(catalog.files, "best.pt")
    catalog.compare_files(None, "best.pt")
    with pytest.warns(UserWarning, match=f"best.pt: was made with a different {path.name}"):
        catalog.compare_files({path.name: "sha256:0"}, "best.pt")


def test_checks_of_a_plugin_pass(write: Callable[[str], Path]) -> None:
    path = write(ADD + HOOK)
    catalog = load_plugins(files=[path])
    (add,) = components_of(path.name, catalog)
    check_component(add, catalog)
    with pytest.raises(PluginError, match="no-such-plugin: is not installed; there are"):
        components_of("no-such-plugin", catalog)


NET = '''from torch import nn
import torch

class Add(nn.Module):
    """A layer.

    Args:
        width: of the layer.
    """

    def __init__(self, width: int = 2) -> None:
        super().__init__()
        self.layer = nn.Linear(width, 2)
'''


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("    Args:\n        width: of the layer.\n", "", "Add: argument 'width' is not described"),
        ("width: of the layer", "depth: of the layer", "Add: argument 'width' is not described"),
        (
            "        self.layer =",
            "        self.register_buffer('seen', torch.randn(2))\n"
            "        self.register_load_state_dict_pre_hook(lambda m, state, *a: state.pop('seen'))\n"
            "        self.layer =",
            "Add: seen is missing from the state dict",
        ),
        ("width: int = 2", "width=2", r"Add: .*py:\d+: argument 'width' has no type"),
    ],
)
def test_checks_of_a_plugin_name_what_is_wrong(write: Callable[[str], Path], old: str, new: str, problem: str) -> None:
    assert old in NET
    path = write(NET.replace(old, new) + HOOK.replace("transforms", "models"))
    catalog = load_plugins(files=[path])
    (add,) = components_of(path.name, catalog)
    with pytest.raises(AssertionError, match=problem):
        check_component(add, catalog)
